"""Budgets: how much may be spent on what, and in which time."""
