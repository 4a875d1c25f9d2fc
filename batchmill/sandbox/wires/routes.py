"""Which wire a request speaks: by its path."""

from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.base import Route, Wire
from batchmill.sandbox.wires.openai.wire import OPENAI, ROUTES


def find_route(request: Request) -> Route | None:
    """Where a call goes; None for what is no call."""
    return ROUTES.get(request.path)


def wire_of(request: Request) -> Wire:
    """Whose words to answer in where the path leads to no call."""
    return OPENAI
