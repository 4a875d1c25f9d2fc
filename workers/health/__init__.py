"""Health: the components of a mill are looked at, all beside each other, each in bounded time."""
