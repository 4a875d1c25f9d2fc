"""Requests are counted by their route's template, whatever comes of them."""

import asyncio
import contextlib
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.metrics import Measuring


class Counted:
    """Keeps what is counted."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.durations_s: list[float] = []

    def count(self, method: str, route: str, status: str, duration_s: float) -> None:
        """As `Metrics` does."""
        self.requests.append((method, route, status))
        self.durations_s.append(duration_s)


def ask(app: Any, *, scope: dict[str, Any] | None = None) -> Counted:
    """One request to an app that is measured, by a clock that goes a second further whenever it is looked at."""
    counted, clock = Counted(), count()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        pass

    asked = {"type": "http", "method": "GET", "path": "/v1/files/file-7"} | (scope or {})
    measuring = Measuring(app, counted, lambda: next(clock))  # type: ignore[arg-type]
    with contextlib.suppress(ZeroDivisionError):
        asyncio.run(measuring(asked, receive, send))
    return counted


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that has a route, and answers."""
    scope["route"] = SimpleNamespace(path="/v1/files/{file_id}")
    await send({"type": "http.response.start", "status": 206, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def leave(scope: Scope, receive: Receive, send: Send) -> None:
    """An app whose client has left before it answered."""


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that breaks."""
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("app", "counted"),
    [
        (answer, ("GET", "/v1/files/{file_id}", "206")),
        (leave, ("GET", "(none)", "none")),
        (fail, ("GET", "(none)", "none")),
    ],
)
def test_each_request_is_counted_once(app: Any, counted: tuple[str, str, str]) -> None:
    """Also one that nobody answered; a path that is no route's is in no label."""
    assert ask(app).requests == [counted]


def test_the_duration_ends_where_the_answer_begins() -> None:
    """An answer that streams for an hour was not an hour late; without an answer all of it counts."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"", "more_body": True})

    assert ask(stream).durations_s == [1]
    assert ask(leave).durations_s == [1]


def test_what_is_no_request_is_not_counted() -> None:
    """The app's own beginning and end are none."""
    assert ask(leave, scope={"type": "lifespan"}).requests == []
