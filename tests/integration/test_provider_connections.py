"""The provider's connections: which are used again, which are given up, and that none is left behind."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from yarl import URL

from batchmill.providers.base import NOT_MADE, Reply, Verdict
from batchmill.providers.connection import Exchange
from batchmill.providers.pool import Pool
from tests.support.clocks import until
from tests.support.provider_servers import (
    WHOLE,
    answers,
    chat,
    http,
    misbehaving,
    provider,
    read_request,
    reset,
)


async def gone(reader: asyncio.StreamReader) -> None:
    """Returns when the client has closed the connection, in whatever way."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass


@dataclass
class Door:
    """A server that says nothing: how many connections came, and how many of them have ended."""

    met: int = 0
    ends: int = 0

    async def behave(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        """Meet one, and see it go."""
        self.met += 1
        await gone(reader)
        self.ends += 1


@pytest.mark.parametrize("hard", [True, False])
def test_a_connection_that_is_just_closing_is_not_used(hard: bool) -> None:
    """Between the server's end of a connection and its funeral, a turn of the loop later, a call takes another one."""

    async def run() -> list[Verdict]:
        answered = asyncio.Event()

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(http())
            await answered.wait()
            if hard:
                reset(writer)

        async with misbehaving(behave) as base_url, provider(base_url) as made:
            first = await made.call(chat())
            answered.set()
            kept = made._pool._idle[0]
            while not kept._transport.is_closing():  # noqa: ASYNC110 - this very turn is meant
                await asyncio.sleep(0)
            return [first.verdict, (await made.call(chat())).verdict]

    assert asyncio.run(run()) == [Verdict.ANSWERED] * 2


class Ears:
    """Whoever wants pieces, and hears none."""

    has_begun = False
    options: ClassVar[Mapping[str, Any]] = {}

    def hear(self, event: bytes) -> None:
        """Nothing is said."""
        raise AssertionError(event)


@pytest.mark.parametrize("listener", [None, Ears()])
def test_too_late_once_there_is_a_connection(listener: Ears | None) -> None:
    """A call whose time has passed while its connection was made is not sent; the next one takes the connection."""
    met, heard = 0, []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        while True:
            heard.append(await read_request(reader))
            writer.write(http())

    async def run() -> tuple[Reply, Reply]:
        async with misbehaving(behave) as base_url, provider(base_url) as made:
            late = await made.call(replace(chat(), may_go=lambda: False, listener=listener))
            return late, await made.call(replace(chat(), may_go=lambda: True))

    late, sent = asyncio.run(run())
    assert (late.verdict, late.error_code, late.is_of_a_call) == (Verdict.UNREACHABLE, NOT_MADE, False)
    assert sent.verdict is Verdict.ANSWERED
    assert (met, len(heard)) == (1, 1)


def test_an_answer_that_says_close_ends_its_connection_alone() -> None:
    """`Connection: close`: that connection is closed by us, though the server waits; the other goes on."""
    ends = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ends
        for close in (False, True):
            await read_request(reader)
            writer.write(http(200, WHOLE, *(["connection: close"] if close else [])))
        await gone(reader)
        ends += 1

    async def run() -> list[Verdict]:
        async with misbehaving(behave) as base_url, provider(base_url) as made:
            first = await asyncio.gather(made.call(chat()), made.call(chat()))
            rest = [await made.call(chat()) for _ in range(2)]
            await until(lambda: ends == 2)
            assert not made._pool._idle
            return [reply.verdict for reply in (*first, *rest)]

    assert asyncio.run(run()) == [Verdict.ANSWERED] * 4


def test_a_connection_on_which_a_request_is_still_going_out_is_not_used_again() -> None:
    """A server may say no before it has read everything; what it would read next is the rest of that request."""
    enough, met = asyncio.Event(), 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        if met > 1:
            await read_request(reader)
        writer.write(http(413 if met == 1 else 200))
        await writer.drain()
        await enough.wait()

    async def run() -> list[Verdict]:
        async with misbehaving(behave) as base_url, provider(base_url) as made:
            replies = [await made.call(chat(padding="x" * 20_000_000)), await made.call(chat(timeout_s=10.0))]
            enough.set()
            return [reply.verdict for reply in replies]

    assert asyncio.run(run()) == [Verdict.REFUSED, Verdict.ANSWERED]


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("cancelled", [True, False])
def test_no_connection_outlives_the_call_that_gave_it_up(secure: bool, cancelled: bool) -> None:
    """Out of time or cancelled, in the TLS handshake or waiting for an answer: the server sees the connection end."""
    door = Door()

    async def run() -> None:
        async with misbehaving(door.behave) as base_url:
            if secure:
                base_url = base_url.replace("http:", "https:")
            async with provider(base_url) as made:
                timeout_s = 60.0 if cancelled else 1.5
                calls = [asyncio.create_task(made.call(chat(timeout_s=timeout_s))) for _ in range(3)]
                await until(lambda: door.met == 3)
                for call in calls if cancelled else ():
                    call.cancel()
                await until(lambda: door.ends == 3)

    asyncio.run(run())


def test_a_call_cancelled_at_any_turn_leaves_no_connection() -> None:
    """Also in the very turn of the loop in which it is made, when nobody has it in hand yet."""
    door = Door()

    async def run() -> None:
        async with misbehaving(door.behave) as base_url, provider(base_url) as made:
            for turns in range(40):
                call = asyncio.create_task(made.call(chat()))
                for _ in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])
            _, last = await asyncio.open_connection("127.0.0.1", URL(base_url).port)
            last.close()
            await last.wait_closed()
            await until(lambda: door.met > 0 and door.ends == door.met)

    asyncio.run(run())


def test_an_idle_connection_holds_no_answer() -> None:
    """What was answered is the caller's: many idle connections do not keep many large answers alive."""

    def holders(exchange: Exchange) -> tuple[int, int]:
        return sys.getrefcount(exchange), sys.getrefcount(exchange.body)

    async def run() -> None:
        async with misbehaving(answers(http(200, b"x" * 100_000))) as base_url:
            pool = Pool(URL(base_url).origin(), most=1, connect_timeout_s=5.0, most_bytes=1_000_000)
            exchange = Exchange()
            await pool.carry(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", exchange)
            assert pool._idle
            lone = Exchange(body=bytes(bytearray(100_000)))
            assert holders(exchange) == holders(lone)
            pool.close()

    asyncio.run(run())


def test_an_ipv6_address_is_called() -> None:
    """The address is dialled bare and named in brackets: to the server, and to us where there is none."""
    seen: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader))[0].lower())
        writer.write(http())

    async def run() -> list[Reply]:
        async with misbehaving(behave, host="::1") as base_url, provider(base_url) as made:
            answered = await made.call(chat())
        async with provider(base_url) as made:
            return [answered, await made.call(chat())]

    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    answered, refused = asyncio.run(run())
    assert (answered.verdict, refused.verdict) == (Verdict.ANSWERED, Verdict.UNREACHABLE)
    assert b"\r\nhost: [::1]:" in seen[0]
    assert "[::1]:" in refused.error_message
