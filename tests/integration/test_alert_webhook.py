"""Alerts by webhook, to a real server on loopback."""

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from batchmill.alerts.delivery import ChannelName
from batchmill.alerts.message import Topic, trial_message
from batchmill.alerts.webhook import WebhookChannel
from batchmill.errors import DeliveryError, SettingsError
from batchmill.settings import load_settings
from db.engine import Database
from tests.support.budgets import add_budget, fire
from tests.support.clocks import PATIENCE_S, FakeClock
from tests.support.provider_servers import Behave, http, misbehaving, read_request
from tests.support.receivers import Post, WebhookServer
from workers.alerts import deliver, deliver_on, make_channels

KEY = bytes(range(32))
NOW_S = 1_800_000_123
MESSAGE = trial_message(1_800_000_000_000, Topic.BUDGET)
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def channel(url: str, **options: Any) -> WebhookChannel:
    return WebhookChannel(url, key=KEY, **options)


def send_to(behave: Behave, **options: Any) -> str:
    async def run() -> str:
        async with misbehaving(behave) as url:
            return await channel(f"{url}/s3cret", **options).send(MESSAGE)

    return asyncio.run(run())


def is_signed(post: Post) -> bool:
    """As a receiver computes it, from nothing but what it got and the key."""
    signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return any(
        hmac.compare_digest(signature, f"v1,{expected}")
        for signature in post.headers["webhook-signature"].split(" ")
    )


def test_posted_and_signed() -> None:
    """JSON, with the id of the alert, the time of this attempt, and a signature that a receiver can check."""
    with WebhookServer().up() as server:
        asyncio.run(channel(server.url, clock=lambda: float(NOW_S)).send(MESSAGE))
    [post] = server.posts
    assert is_signed(post)
    assert post.headers["webhook-id"] == MESSAGE.id
    assert post.headers["webhook-timestamp"] == str(NOW_S)
    assert post.headers["content-type"] == "application/json"
    assert post.document["type"] == "budget.test"
    assert not is_signed(Post(headers=post.headers, body=post.body.replace(b"budget", b"bodget")))


def test_a_receiver_checks_it_as_the_documentation_shows() -> None:
    """The example for receivers takes what is genuine, and nothing that was changed, is old, or has another key."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    is_genuine, secret = names["is_genuine"], "whsec_" + base64.b64encode(KEY).decode()
    with WebhookServer().up() as server:
        asyncio.run(channel(server.url).send(MESSAGE))
        asyncio.run(channel(server.url, clock=lambda: float(NOW_S)).send(MESSAGE))
    now, another_time = server.posts
    assert is_genuine(now.headers, now.body, secret)
    assert not is_genuine(now.headers, now.body + b" ", secret)
    assert not is_genuine(now.headers, now.body, "whsec_" + base64.b64encode(bytes(32)).decode())
    assert not is_genuine(another_time.headers, another_time.body, secret)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_a_delivery(status: int) -> None:
    """Whatever else the answer says."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(status, b""))
        await writer.drain()

    assert send_to(behave) == ""


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
def test_any_other_answer_is_none(status: int) -> None:
    """Redirects are not followed; the status is told, and neither the path nor the answer's words."""
    called: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append((await read_request(reader))[0])
        writer.write(http(status, b"s3cret words", "location: /elsewhere"))
        await writer.drain()

    with pytest.raises(
        DeliveryError, match=rf"^webhook http://127.0.0.1:\d+: it answered with status {status}$"
    ):
        send_to(behave)
    assert len(called) == 1


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.get_running_loop().create_future()


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def _is_no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"220 mail.test\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("behave", "attempt_s", "told"),
    [
        (_nothing, 0.5, "it did not answer within 0.5 s"),
        (_hangs_up, PATIENCE_S, "it closed the connection without an answer"),
        (_is_no_http, PATIENCE_S, "its answer is not HTTP"),
    ],
)
def test_a_server_that_is_none(behave: Behave, attempt_s: float, told: str) -> None:
    """One that says nothing is given up in bounded time; one that says something odd is named with what it said."""
    with pytest.raises(DeliveryError, match=told) as raised:
        send_to(behave, attempt_s=attempt_s)
    assert "s3cret" not in raised.value.message + raised.value.hint


def test_a_2xx_that_breaks_off_is_a_delivery() -> None:
    """The status says that it has arrived; nobody needs the rest."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(200, b"", length=100))
        await writer.drain()

    assert send_to(behave) == ""


def test_nobody_listens() -> None:
    """The reason is the system's, with host and port and nothing more."""
    server = WebhookServer()
    with pytest.raises(DeliveryError, match=r"Connection refused") as raised:
        asyncio.run(channel(server.url).send(MESSAGE))
    assert "s3cret" not in raised.value.message + raised.value.hint


@pytest.mark.parametrize("url", ["http://[::1/s3cret", "https:///s3cret"])
def test_a_url_that_cannot_be_called(url: str) -> None:
    """It is said at once, without the URL."""
    with pytest.raises(SettingsError, match="BATCHMILL_WEBHOOK_URL") as raised:
        channel(url)
    assert "s3cret" not in raised.value.message + raised.value.hint


@on_sqlite
def test_the_same_id_at_every_try(database: Database, clock: FakeClock) -> None:
    """Each try has its own time and signature, all have the alert's id, and the alert's own time inside."""
    server = WebhookServer(answer=http(503, b""))
    secret = "whsec_" + base64.b64encode(KEY).decode()
    environ = {"BATCHMILL_WEBHOOK_URL": server.url, "BATCHMILL_WEBHOOK_SECRET": secret}
    channels = [one for one in make_channels(load_settings(environ, None)) if one.name is ChannelName.WEBHOOK]
    fire(database, add_budget(database, 5_000_000_000))
    with server.up():
        assert not deliver(database, channels)
        server.answer = http(204, b"")
        clock.advance(10_000)
        assert deliver(database, channels)
        assert deliver_on(database, channels[0], also_waiting=True)
    assert len(server.posts) == 2
    assert all(is_signed(post) for post in server.posts)
    assert len({post.headers["webhook-id"] for post in server.posts}) == 1
    assert len({post.body for post in server.posts}) == 1
    assert server.posts[0].document["data"]["spent_usd"] == "4.51"
