"""Health: how the parts of a mill are, and when people are told that it has changed."""
