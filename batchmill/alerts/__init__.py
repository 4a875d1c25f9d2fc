"""Alerts: what people are told, of budgets and of health, and the ways it reaches them."""
