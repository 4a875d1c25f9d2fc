"""Which wire a request speaks: by its path, and where several share one, by the headers it comes with."""

from collections.abc import Mapping
from typing import Final

from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.anthropic.wire import ANTHROPIC
from batchmill.sandbox.wires.anthropic.wire import ROUTES as ANTHROPIC_ROUTES
from batchmill.sandbox.wires.base import Route, Wire
from batchmill.sandbox.wires.gemini.wire import GEMINI
from batchmill.sandbox.wires.openai.wire import OPENAI
from batchmill.sandbox.wires.openai.wire import ROUTES as OPENAI_ROUTES

ROUTES: Final[Mapping[str, Route]] = {**OPENAI_ROUTES, **ANTHROPIC_ROUTES}


def find_route(request: Request) -> Route | None:
    """Where a call goes; None for what is no call."""
    return ROUTES.get(request.path) or GEMINI.route(request.path)


def wire_of(request: Request) -> Wire:
    """Whose words to answer in where the path leads to no call."""
    if request.path.startswith("/v1beta/") or "x-goog-api-key" in request.headers or "key=" in request.query:
        return GEMINI
    if "anthropic-version" in request.headers or "x-api-key" in request.headers:
        return ANTHROPIC
    return OPENAI
