"""Budgets: what is defined, what is held and spent, who has been told."""
