"""Ports for servers of a test's own."""

import socket


def free_port() -> int:
    """A port that nobody listens on, for now; by chance, so that tests that begin together hardly ever meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
