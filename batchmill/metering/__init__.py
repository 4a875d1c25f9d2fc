"""Metering: what a process counts of itself, in plain Python; who tells it to whom is not its concern."""
