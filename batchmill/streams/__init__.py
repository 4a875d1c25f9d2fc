"""Answers that come in pieces: how they are read, put together, and taken apart again."""
