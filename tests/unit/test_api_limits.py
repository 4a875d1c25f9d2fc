"""Limits of the service: requests a minute of a key, and how large bodies may be."""

import asyncio
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import api.limits
from api.limits import BodyLimit, Message, RequestLimit, Standing
from batchmill.providers.signals import duration_s


class Minute:
    """A limit and its clock."""

    def __init__(self, rpm: int) -> None:
        self.now_s = 1_000.5
        self.limit = RequestLimit(rpm, clock=lambda: self.now_s)

    def take(self, key: str = "a", times: int = 1) -> Standing:
        """The last of so many requests at once."""
        return [self.limit.take(key) for _ in range(times)][-1]


def test_what_is_within_the_limit_passes_and_is_counted_down() -> None:
    """The headers say so in OpenAI's shape."""
    standing = Minute(3).take(times=2)
    assert not standing.is_refused
    assert standing.headers == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1m0.5s",
    }


def test_one_too_many_is_told_when_to_come_again() -> None:
    """In seconds, rounded up, and in milliseconds; our own client's reading of OpenAI's headers agrees."""
    minute = Minute(2)
    minute.take()
    minute.now_s += 20
    minute.take()
    refused = minute.take()
    assert refused.is_refused
    assert refused.headers["retry-after-ms"] == "40500"
    assert refused.headers["retry-after"] == "41"
    assert duration_s(refused.headers["x-ratelimit-reset-requests"]) == 60.5
    assert "Limit 2" in refused.message
    assert "try again in 40.5s" in refused.message


def test_whoever_comes_when_told_is_let_through() -> None:
    """Not a moment before, and refused requests have not counted."""
    minute = Minute(2)
    minute.take(times=2)
    wait_ms = minute.take(times=5).retry_after_ms
    assert wait_ms is not None
    minute.now_s += (wait_ms - 1) / 1000
    assert minute.take().is_refused
    minute.now_s += 0.001
    assert minute.take().remaining == 1


def test_keys_do_not_take_from_each_other() -> None:
    """Each has its own minute."""
    minute = Minute(1)
    assert [minute.take(key).is_refused for key in "abab"] == [False, False, True, True]


@given(
    st.lists(st.tuples(st.floats(min_value=0, max_value=40), st.integers(1, 7)), max_size=40),
    st.integers(1, 10),
)
def test_no_sixty_seconds_let_more_through(arrivals: list[tuple[float, int]], rpm: int) -> None:
    """Whenever requests come, and however many at once; what remains is told as it is."""
    minute = Minute(rpm)
    passed: list[float] = []
    for pause_s, number in arrivals:
        minute.now_s += pause_s
        for _ in range(number):
            standing = minute.take()
            if not standing.is_refused:
                passed.append(minute.now_s)
            assert 0 <= standing.remaining < rpm or standing.is_refused
    for first in passed:
        assert sum(first <= one < first + 60 for one in passed) <= rpm


def test_all_of_the_limit_can_be_used() -> None:
    """Whoever keeps to it is refused nothing to speak of: a minute's requests in 61 seconds."""
    minute = Minute(60)
    for _ in range(600):
        assert not minute.take().is_refused
        minute.now_s += 61 / 60


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that have been quiet for longest are forgotten, those in use are not."""
    monkeypatch.setattr(api.limits, "MOST_KEYS", 10)
    minute = Minute(1_000)
    for number in range(100):
        minute.take(f"key-{number}")
        minute.take("in use")
    assert len(minute.limit._counts) == 10
    assert minute.take("in use").remaining == 1_000 - 101
    for _ in range(500):
        minute.now_s += 1.1
        minute.take("in use")
    assert len(minute.limit._counts["in use"].parts) <= api.limits.SLOTS + 1


def test_threads_count_together() -> None:
    """Of four hundred at once as many pass as may."""
    minute = Minute(150)
    with ThreadPoolExecutor(8) as threads:
        standings = list(threads.map(lambda _: minute.take(), range(400)))
    assert sum(not standing.is_refused for standing in standings) == 150


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body whole and says how long it was; answers 499 to a client that is gone."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            await send({"type": "http.response.start", "status": 499, "headers": []})
            await send({"type": "http.response.body", "body": b"gone"})
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


def answer(
    *chunks: bytes, told: int | None = None, path: str = "/v1/batches", app: Any = _app
) -> tuple[list[int], bytes]:
    """The statuses and the body that a client sees whose request has that body, in these pieces."""
    sent: list[Message] = []
    pieces = iter(_messages(chunks))

    async def receive() -> Message:
        return next(pieces)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", str(told).encode())] if told is not None else []
    scope = {"type": "http", "path": path, "headers": headers}
    limited = BodyLimit(app, most_bytes=10, unless=["/v1/files"])
    asyncio.run(limited(scope, receive, send))
    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    return statuses, b"".join(message.get("body", b"") for message in sent)


def _messages(chunks: Iterable[bytes]) -> Iterable[Message]:
    for chunk in chunks:
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


def test_bodies_up_to_the_limit_pass() -> None:
    """Told beforehand or not, in one piece or in several."""
    for chunks in ([b"0123456789"], [b"01234", b"56789"], [b""], []):
        assert answer(*chunks) == ([200], str(len(b"".join(chunks))).encode())
        assert answer(*chunks, told=len(b"".join(chunks)))[0] == [200]


@pytest.mark.parametrize(
    ("chunks", "told"),
    [([], 11), ([], 10**30), ([b"0123456789", b"x", b"more"], None), ([b"x" * 11], None), ([b"x" * 11], 3)],
)
def test_one_byte_too_many_is_refused(chunks: list[bytes], told: int | None) -> None:
    """Once, in OpenAI's shape, whatever the app itself makes of it; also when less was told than comes."""
    statuses, body = answer(*chunks, told=told)
    assert statuses == [413]
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        None,
        "request_too_large",
    )


def test_uploads_are_not_limited_here() -> None:
    """They have a limit of their own."""
    assert answer(b"x" * 1_000, path="/v1/files") == ([200], b"1000")
    assert answer(b"x" * 1_000, path="/v1/files/")[0] == [200]
    assert answer(b"x" * 1_000, path="/v1/filesystem")[0] == [413]


def test_an_answer_that_has_begun_is_not_answered_again() -> None:
    """An app that answers before it has read all gets no more of the body, and its answer stays whole."""

    async def eager(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        kinds = [(await receive())["type"] for _ in range(3)]
        await send({"type": "http.response.body", "body": ",".join(kinds).encode()})

    told = b"http.request,http.disconnect,http.disconnect"
    assert answer(b"01234", b"5678910", b"x", app=eager) == ([202], told)
