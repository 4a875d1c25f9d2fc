"""Calls over TLS: to whom they go is proven before a key or a prompt does."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from batchmill.providers.base import Reply, Verdict
from tests.support.provider_servers import (
    KEY,
    WHOLE,
    chat,
    http,
    misbehaving,
    provider,
    read_request,
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that only this test knows."""
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts it, too."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """What a server needs to prove that it is `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def calls(tls: ssl.SSLContext, times: int = 1) -> tuple[list[Reply], list[bytes]]:
    """What comes of calls one after the other, and the requests that the server got to see."""
    seen: list[bytes] = []
    connections: list[int] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while True:
            head, _ = await read_request(reader)
            seen.append(head)
            writer.write(http(200, WHOLE))
            await writer.drain()

    async def run() -> list[Reply]:
        async with misbehaving(behave, tls) as base_url, provider(base_url) as made:
            return [await made.call(chat()) for _ in range(times)]

    replies = asyncio.run(run())
    assert len(connections) <= 1
    return replies, seen


@pytest.mark.usefixtures("trusted")
def test_a_trusted_server_is_called_over_one_connection(authority: trustme.CA) -> None:
    """Whom the system trusts is called, twice over the same connection."""
    replies, seen = calls(serving(authority, "127.0.0.1"), times=2)
    assert [(reply.verdict, reply.body) for reply in replies] == [(Verdict.ANSWERED, WHOLE)] * 2
    assert len(seen) == 2


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("polite", [True, False])
def test_a_connection_that_is_just_closing_is_not_used(authority: trustme.CA, polite: bool) -> None:
    """TLS takes some turns of the loop to end; a call that comes in between takes another connection."""

    async def run() -> list[Verdict]:
        answered = asyncio.Event()

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(http())
            await answered.wait()
            if not polite:
                writer.transport.abort()

        async with (
            misbehaving(behave, serving(authority, "127.0.0.1")) as base_url,
            provider(base_url) as made,
        ):
            first = await made.call(chat())
            answered.set()
            ending: Any = made._pool._idle[0]._transport
            while ending._ssl_protocol._app_state.name != "STATE_EOF":  # noqa: ASYNC110 - this very turn is meant
                await asyncio.sleep(0)
            return [first.verdict, (await made.call(chat())).verdict]

    assert asyncio.run(run()) == [Verdict.ANSWERED] * 2


def test_a_server_nobody_vouches_for_sees_nothing(authority: trustme.CA) -> None:
    """An unknown authority: no request goes out, so nothing was billed, and the reason is told."""
    [reply], seen = calls(serving(authority, "127.0.0.1"))
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")
    assert "certificate" in reply.error_message
    assert seen == []


@pytest.mark.usefixtures("trusted")
def test_a_server_of_another_name_sees_nothing(authority: trustme.CA) -> None:
    """A certificate for somebody else is none, whoever signed it."""
    [reply], seen = calls(serving(authority, "elsewhere.test"))
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")
    assert seen == []


def test_plain_text_where_tls_is_meant() -> None:
    """A server that speaks no TLS gets no key from us."""

    seen: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(1_000))
        writer.write(http(400, b"this is no TLS"))

    async def run() -> Reply:
        async with (
            misbehaving(behave) as base_url,
            provider(base_url.replace("http:", "https:")) as made,
        ):
            return await made.call(chat())

    reply = asyncio.run(run())
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")
    assert seen
    assert KEY.encode() not in seen[0]
