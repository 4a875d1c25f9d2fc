"""Routing: which model of which provider answers a request, and why that one."""
