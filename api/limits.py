"""Limits: how many requests a key may make a minute, and how large a body may be."""

import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from math import ceil
from threading import Lock
from typing import Any

import orjson

from batchmill.periods import go_duration
from batchmill.requests.jsonl import MB

WINDOW_S = 60.0
SLOTS = 60
"""Into how many parts the last minute is divided: requests are counted for up to one part longer than it."""
MOST_KEYS = 10_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a key stands to its limit, the request included that asked.

    Attributes:
        limit: Requests a minute.
        remaining: How many more may come now.
        reset_ms: When all of them may.
        retry_after_ms: When the next may come; None when this one may.
    """

    limit: int
    remaining: int
    reset_ms: int
    retry_after_ms: int | None = None

    @property
    def is_refused(self) -> bool:
        """Whether this request is one too many."""
        return self.retry_after_ms is not None

    @property
    def message(self) -> str:
        """What whoever is refused is told."""
        return (
            f"Rate limit reached for this API key on requests per min (RPM): Limit {self.limit}."
            f" Please try again in {go_duration(self.retry_after_ms or 0)}."
        )

    @property
    def headers(self) -> dict[str, str]:
        """What the answer bears, in OpenAI's shape, whether refused or not."""
        told = {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": go_duration(self.reset_ms),
        }
        if self.retry_after_ms is not None:
            told |= {
                "retry-after-ms": str(self.retry_after_ms),
                "retry-after": str(ceil(self.retry_after_ms / 1000)),
            }
        return told


@dataclass(slots=True)
class _Count:
    """The requests of a key: how many in which part of time, oldest first."""

    parts: deque[tuple[int, int]] = field(default_factory=deque)
    total: int = 0


class RequestLimit:
    """So many requests a minute for each key, in this process: in no 60 seconds do more pass. Safe between threads.

    A refused request does not count. Of more than `MOST_KEYS` keys in use, those are forgotten that have been quiet
    for longest; a key that is forgotten while it is used may make more requests than its limit.

    Args:
        rpm: Requests a minute.
        clock: Seconds of a clock that never runs back.
    """

    def __init__(self, rpm: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rpm = rpm
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = Lock()

    def take(self, key: str) -> Standing:
        """Count a request of that key, if it may be made."""
        with self._lock:
            now_s = self._clock()
            count = self._counts.setdefault(key, _Count())
            self._counts.move_to_end(key)
            while len(self._counts) > MOST_KEYS:
                self._counts.popitem(last=False)
            part = _part(now_s)
            while count.parts and count.parts[0][0] < part - SLOTS:
                count.total -= count.parts.popleft()[1]
            is_free = count.total < self._rpm
            if is_free:
                _enter(count, part)
            return Standing(
                limit=self._rpm,
                remaining=self._rpm - count.total,
                reset_ms=_left_ms(count.parts[-1][0], now_s),
                retry_after_ms=None if is_free else _left_ms(count.parts[0][0], now_s),
            )


def _part(now_s: float) -> int:
    return int(now_s // (WINDOW_S / SLOTS))


def _enter(count: _Count, part: int) -> None:
    number = count.parts.pop()[1] if count.parts and count.parts[-1][0] == part else 0
    count.parts.append((part, number + 1))
    count.total += 1


def _left_ms(part: int, now_s: float) -> int:
    """How long until what was counted in that part counts no more."""
    return max(1, ceil(((part + SLOTS + 1) * (WINDOW_S / SLOTS) - now_s) * 1000))


class BodyLimit:
    """Refuses bodies that are larger than allowed, whether they say so beforehand or only turn out to be.

    An ASGI middleware: what is within it never gets more than so many bytes. Goes inside of whatever gives answers
    their `x-request-id`.

    Args:
        most_bytes: Largest body.
        unless: Paths of uploads, which have a limit of their own.
    """

    def __init__(self, app: App, *, most_bytes: int, unless: Collection[str] = ()) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._unless = frozenset(unless)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http" or scope["path"].rstrip("/") in self._unless:
            await self._app(scope, receive, send)
        elif _told_length(scope) > self._most_bytes:
            await _refuse(send, self._most_bytes)
        else:
            bounded = _Bounded(receive, send, self._most_bytes)
            await self._app(scope, bounded.receive, bounded.send)


@dataclass(slots=True)
class _Bounded:
    """One request: at the first byte too many it is answered here, and to the app its client is gone."""

    outer_receive: Receive
    outer_send: Send
    most_bytes: int
    taken: int = 0
    is_answered: bool = False
    is_refused: bool = False

    async def receive(self) -> Message:
        if self.is_refused:
            return {"type": "http.disconnect"}
        message = await self.outer_receive()
        self.taken += len(message.get("body", b""))
        if self.taken <= self.most_bytes:
            return message
        self.is_refused = True
        if not self.is_answered:
            await _refuse(self.outer_send, self.most_bytes)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.is_refused and not self.is_answered:
            return  # what the app makes of a client that is gone
        self.is_answered = True
        await self.outer_send(message)


def _told_length(scope: MutableMapping[str, Any]) -> int:
    """The length that a request says its body has; 0 when it says none."""
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(told[:19]) if told.isdigit() else 0


async def _refuse(send: Send, most_bytes: int) -> None:
    message = (
        f"Request body too large: the limit is {most_bytes / MB:g} MB. Larger inputs are handed in as files."
    )
    error = {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": "request_too_large",
    }
    body = orjson.dumps({"error": error})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
