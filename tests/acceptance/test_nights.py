"""Two nights and a morning: each report reaches each recipient once, whatever is killed or lost."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from aiosmtpd.smtp import SMTP, Envelope, Session

from db import schema
from db.engine import Database
from tests.support.budgets import enter, moment_ms
from tests.support.mill import Mill, wait_until
from tests.support.other_clock import OtherClock
from tests.support.receivers import MailServer
from tests.support.servers import valkey_server

A, B = "a@acme.test", "b@acme.test"
MINUTE_MS, DAY_MS = 60_000, 86_400_000
EVENING_MS = moment_ms("2026-11-20T01:58")
NIGHT_MS = moment_ms("2026-11-20T02:00:01")
OTHER_JOBS = ("HEALTH", "CACHE_CLEANUP", "RETENTION", "TRAINING_EXPORT")
PATIENCE_S = 90.0


@dataclass(slots=True, kw_only=True)
class StallingServer(MailServer):
    """A mail server that falls silent, once, in the middle of a mail.

    Attributes:
        stalls_at: `RCPT`: it has not taken the mail; `DATA`: it has taken it, and does not say so.
        is_silent: Set once it has fallen silent.
    """

    stalls_at: str = ""
    is_silent: threading.Event = field(default_factory=threading.Event)

    async def _stall(self, at: str) -> None:
        if self.stalls_at == at:
            self.stalls_at = ""
            self.is_silent.set()
            await asyncio.get_running_loop().create_future()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name for it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or fall silent."""
        await self._stall("RCPT")
        return await super(StallingServer, self).handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail, and maybe never say so."""
        said = await super(StallingServer, self).handle_DATA(server, session, envelope)
        await self._stall("DATA")
        return said

    def received(self, night_ms: int) -> list[tuple[str, str]]:
        """Of the mails with the report of the day before: who each went to, and its Message-ID."""
        day = time.strftime("%Y-%m-%d", time.gmtime((night_ms - DAY_MS) / 1000))
        return sorted(
            (mail["To"], mail["Message-ID"])
            for mail in self.mails
            if mail["X-Batchmill-Report"] == f"daily-{day}"
        )


@dataclass(kw_only=True)
class Nights:
    """An installation whose clock is ours: workers and beats that go by it, its broker."""

    mill: Mill
    broker_url: str
    clock: OtherClock
    worker: int = 0

    def start_worker(self) -> None:
        """The maintenance worker."""
        self.worker = self.clock.start("worker", "--maintenance")

    def kill_worker(self) -> None:
        """kill -9 of the maintenance worker, with all its processes; and all that the broker holds is lost."""
        os.killpg(self.worker, signal.SIGKILL)
        with redis.Redis.from_url(self.broker_url) as broker:
            broker.flushall()

    def states(self, night_ms: int) -> dict[str, str]:
        """How the report of the day before has come to each recipient."""
        start_ms = night_ms // DAY_MS * DAY_MS - DAY_MS
        return dict(
            self.mill.query(
                "SELECT recipient, state FROM report_deliveries JOIN reports ON reports.id = report_id"
                f" WHERE start_ms = {start_ms}"
            )
        )

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something, patiently."""
        try:
            wait_until(condition, PATIENCE_S, every_s=0.05)
        except AssertionError:
            raise AssertionError(self.clock.log.read_text()) from None


@pytest.fixture
def mail() -> Iterator[StallingServer]:
    """A mail server."""
    with StallingServer().up() as server:
        assert isinstance(server, StallingServer)
        yield server


@pytest.fixture
def nights(mill: Mill, mail: StallingServer, tmp_path: Path) -> Iterator[Nights]:
    """An installation on an SQLite home and a broker, in the evening."""
    (tmp_path / "broker").mkdir()
    with valkey_server(tmp_path / "broker") as broker_url:
        mill.environ |= {
            "BROKER_URL": broker_url,
            "SMTP_URL": f"smtp://127.0.0.1:{mail.port}",
            "MAIL_FROM": "Mill <mill@acme.test>",
            "ADMIN_EMAILS": f"{A}, Ops <{B}>",
            "BATCHMILL_BEAT_S": "1",
            **{f"BATCHMILL_AT_{job}": "off" for job in OTHER_JOBS},
        }
        mill.home.mkdir()
        database = Database(f"sqlite:///{mill.home}/batchmill.db")
        schema.upgrade(database)
        spent = ((NIGHT_MS - DAY_MS, 41_200_000_000), (NIGHT_MS - 2 * DAY_MS, 36_800_000_000))
        enter(database, [{"at_ms": at_ms, "cost_nanos": cost} for at_ms, cost in spent])
        database.close()
        clock = OtherClock(mill=mill, offset=tmp_path / "offset", log=tmp_path / "log.txt")
        nights = Nights(mill=mill, broker_url=broker_url, clock=clock)
        nights.clock.set(EVENING_MS)
        yield nights
        nights.clock.close()


@pytest.mark.timeout(300)
def test_one_mail_a_night_and_recipient(nights: Nights, mail: StallingServer) -> None:
    """A kill -9 before the mail is handed over: it is sent later, once. A kill -9 between that and the server's
    answer: it is not sent twice, it is flagged, and the next report says so. All with two beats and a FLUSHALL."""
    nights.clock.start("beat")
    nights.clock.start("beat")
    nights.start_worker()
    nights.wait(lambda: bool(nights.mill.query("SELECT 1 FROM schedules WHERE name = 'usage-report'")))

    mail.stalls_at = "RCPT"
    nights.clock.set(NIGHT_MS)
    nights.wait(mail.is_silent.is_set)
    nights.kill_worker()
    assert (nights.states(NIGHT_MS), mail.mails) == ({A: "pending", B: "pending"}, [])
    nights.clock.set(NIGHT_MS + 5 * MINUTE_MS)
    nights.start_worker()
    nights.wait(lambda: nights.states(NIGHT_MS) == {A: "sent", B: "sent"})

    second_ms = NIGHT_MS + DAY_MS
    mail.is_silent.clear()
    mail.stalls_at = "DATA"
    nights.clock.set(second_ms)
    nights.wait(mail.is_silent.is_set)
    nights.kill_worker()
    assert nights.states(second_ms) == {A: "sending", B: "pending"}
    nights.clock.set(second_ms + 5 * MINUTE_MS)
    nights.start_worker()
    nights.wait(lambda: nights.states(second_ms) == {A: "unknown", B: "sent"})

    third_ms = second_ms + DAY_MS
    nights.clock.set(third_ms)
    nights.wait(lambda: nights.states(third_ms) == {A: "sent", B: "sent"})
    assert nights.states(second_ms) == {A: "unknown", B: "sent"}

    for night_ms in (NIGHT_MS, second_ms, third_ms):
        assert [to for to, _ in mail.received(night_ms)] == [A, B]
    assert (
        len(
            {
                message_id
                for night in (NIGHT_MS, second_ms, third_ms)
                for _, message_id in mail.received(night)
            }
        )
        == 6
    )
    assert mail.subjects[0].startswith("[batchmill] $41.20 yesterday (+12 %), $78.00 this month, forecast")
    last = mail.mails[-1].get_body(("plain",)).get_content()
    assert "Of 1 mail with an earlier report nobody knows whether it arrived" in " ".join(last.split())
    listed = nights.mill.quickly("report", "list", "--json")
    states = [[one["state"] for one in report["deliveries"]] for report in json.loads(listed.stdout)]
    assert states == [["sent", "sent"], ["unknown", "sent"], ["sent", "sent"]]
