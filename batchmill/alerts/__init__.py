"""Alerts: what the owner of a budget is told, and the ways it reaches them."""
