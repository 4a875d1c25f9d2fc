"""Reports by mail, to a real mail server on loopback."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import trustme

import workers.reports.handing as handing
from batchmill.reports.delivery import DeliveryState
from batchmill.settings import Settings, load_settings
from batchmill.settings.schedules import JobName
from db.engine import Database
from db.reports import deliveries, store
from tests.support.budgets import enter, moment_ms
from tests.support.clocks import FakeClock
from tests.support.mill import Mill
from tests.support.provider_servers import Behave, misbehaving
from tests.support.receivers import MailServer
from workers.jobs.registry import JOBS
from workers.jobs.run import Detail, perform
from workers.reports.delivery import deliver_owed, post_of

A, B = "anna@acme.test", "otto@acme.test"
DUE_MS = moment_ms("2026-11-06T02:00")
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
pytestmark = on_sqlite


@pytest.fixture(autouse=True)
def night(database: Database, clock: FakeClock) -> None:
    """It is two in the morning, and something was spent."""
    clock.advance(DUE_MS + 5 - clock.now_ms())
    enter(database, [{"at_ms": DUE_MS - 43_200_000, "cost_nanos": 41_200_000_000}])


def settings_for(port: int, *, scheme: str = "smtp", login: str = "", to: str = f"{A},Ops <{B}>") -> Settings:
    """Mail by the server there."""
    environ = {"SMTP_URL": f"{scheme}://{login}127.0.0.1:{port}", "MAIL_FROM": "Mill <mill@acme.test>"}
    return load_settings(environ | ({"ADMIN_EMAILS": to} if to else {}), None)


def run(database: Database, settings: Settings, job: JobName = JobName.USAGE_REPORT) -> Detail:
    """The job, as it is due."""
    detail = perform(settings, database, job, DUE_MS, JOBS[job].run, by_hand=True)
    assert detail is not None
    return detail


def states(database: Database) -> dict[str, DeliveryState]:
    """How the only report has come to each recipient."""
    with database.read() as tx:
        [one] = store.listed(tx, most=5)
    return {delivery.recipient: delivery.state for delivery in one.deliveries}


def deliver(database: Database, settings: Settings) -> int:
    """What the job `alerts` does; how many mails were sent."""
    post = post_of(settings.mail)
    assert post is not None
    return deliver_owed(database, post)


def test_each_gets_a_mail_of_their_own(database: Database) -> None:
    """Nobody sees the others; whoever runs it again sends nothing more."""
    with MailServer().up() as server:
        settings = settings_for(server.port)
        detail = run(database, settings)
        assert (
            perform(settings, database, JobName.USAGE_REPORT, DUE_MS, JOBS[JobName.USAGE_REPORT].run) is None
        )
        assert deliver(database, settings) == 0
    assert detail["sent"] == 2
    assert detail["verdict"] == "$41.20 yesterday, $41.20 this month, forecast: insufficient data"
    assert [envelope.rcpt_tos for envelope in server.envelopes] == [[A], [B]]
    assert [mail["To"] for mail in server.mails] == [A, B]
    assert all(B not in str(mail) for mail in server.mails[:1])
    first, second = (mail["Message-ID"] for mail in server.mails)
    assert first != second
    assert server.subjects == [f"[batchmill] {detail['verdict']}"] * 2


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_encrypted_and_logged_in(
    database: Database, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By STARTTLS or from the start, with a login, as SMTP_URL says."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server = MailServer(login=("ops", "p4ss:@"))
    with server.up(tls, from_the_start=scheme == "smtps"):
        run(database, settings_for(server.port, scheme=scheme, login="ops:p4ss%3A%40@"))
    assert (len(server.mails), server.logins) == (2, [True, True])


def test_without_a_mail_server_it_is_made_all_the_same(database: Database) -> None:
    """And the job says what is missing."""
    for environ, missing in (({}, "SMTP_URL and ADMIN_EMAILS"), ({"ADMIN_EMAILS": A}, "SMTP_URL")):
        detail = run(
            database, load_settings(environ, None), JobName.WEEKLY_REPORT if environ else JobName.USAGE_REPORT
        )
        assert detail["mail"] == f"none is sent: {missing} not set"
    with database.read() as tx:
        assert sorted(one.name for one in store.listed(tx, most=5)) == [
            "daily-2026-11-05",
            "weekly-2026-10-26",
        ]


def test_a_server_that_is_away_for_a_while(database: Database, clock: FakeClock) -> None:
    """What could not be sent is sent once it is back: the report that was made then, once to each."""
    server = MailServer()
    settings = settings_for(server.port)
    assert run(database, settings)["pending"] == 2
    enter(database, [{"at_ms": DUE_MS - 43_200_000, "cost_nanos": 1}])
    assert deliver(database, settings) == 0  # it is not due again
    with server.up():
        clock.advance(10_000)
        assert deliver(database, settings) == 2
        clock.advance(86_400_000)
        assert deliver(database, settings) == 0
    assert states(database) == {A: DeliveryState.SENT, B: DeliveryState.SENT}
    assert server.subjects[0].startswith("[batchmill] $41.20 yesterday, $41.20 this month")


def test_who_is_refused_for_good_is_given_up(database: Database, clock: FakeClock) -> None:
    """The others get theirs; the list says why."""
    with MailServer(refused=(A,)).up() as server:
        settings = settings_for(server.port)
        detail = run(database, settings)
        clock.advance(86_400_000)
        assert deliver(database, settings) == 0
    assert (detail["sent"], detail["given_up"]) == (1, 1)
    with database.read() as tx:
        [refused] = [one for one in deliveries.of_report(tx, 1) if one.recipient == A]
    assert "anna@acme.test was refused: 550 5.1.1 nobody of that name" in refused.error


def answering(at_end: bytes | None, *, rcpt: bytes = b"250 OK") -> Behave:
    """A server that says this once it has the mail; None: nothing."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        while line := await reader.readline():
            if line.startswith(b"QUIT"):
                return
            if line == b"DATA\r\n":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                if at_end is None:
                    await asyncio.get_running_loop().create_future()
                writer.write(at_end or b"")
            else:
                writer.write((rcpt if line.startswith(b"RCPT") else b"250 OK") + b"\r\n")
            await writer.drain()

    return behave


@pytest.mark.parametrize(
    ("behave", "state", "told"),
    [
        (answering(None), DeliveryState.UNKNOWN, "it may have taken the mail or not"),
        (answering(b"451 4.3.0 later\r\n"), DeliveryState.PENDING, "451 4.3.0 later"),
        (answering(b"554 5.7.1 spam\r\n"), DeliveryState.GIVEN_UP, "554 5.7.1 spam"),
        (answering(b"", rcpt=b"450 4.2.0 greylisted"), DeliveryState.PENDING, "450 4.2.0 greylisted"),
    ],
    ids=["slow", "later", "never", "greylisted"],
)
def test_what_the_server_says_decides(
    database: Database, behave: Behave, state: DeliveryState, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only silence after the mail leaves it open whether it was taken."""
    monkeypatch.setattr(handing, "DATA_S", 0.5)

    async def go() -> None:
        async with misbehaving(behave) as url:
            settings = settings_for(int(url.split(":")[2].split("/")[0]), to=A)
            await asyncio.to_thread(run, database, settings)

    asyncio.run(go())
    with database.read() as tx:
        [found] = deliveries.of_report(tx, 1)
    assert found.state is state
    assert told in found.error


def test_a_report_that_nobody_was_to_get(mill: Mill, database: Database, database_url: str) -> None:
    """Made while there was no mail server, a report is sent to ADMIN_EMAILS by hand, once there is one."""
    server = MailServer()
    run(database, load_settings({}))
    mill.environ |= {"DATABASE_URL": database_url, "SMTP_URL": f"smtp://127.0.0.1:{server.port}"}
    mill.environ |= {"MAIL_FROM": B}
    assert "nobody is to get daily-2026-11-05" in mill.refused("report", "resend", "latest")
    mill.environ |= {"ADMIN_EMAILS": A}
    with server.up():
        sent = mill.quickly("report", "resend", "latest")
    assert (sent.returncode, sent.stderr) == (0, f"sent to {A}\n")
    assert [mail["To"] for mail in server.mails] == [A]


def test_by_hand(mill: Mill, database: Database, database_url: str) -> None:
    """A report is listed, shown, and sent again to whom it did not reach, or to anybody named."""
    server = MailServer(refused=(A,))
    mill.environ |= {"DATABASE_URL": database_url, "SMTP_URL": f"smtp://127.0.0.1:{server.port}"}
    mill.environ |= {"ADMIN_EMAILS": f"{A},{B}"}
    with server.up():
        run(database, settings_for(server.port))
        listed = mill.quickly("report", "list")
        assert "1 sent, 1 given up" in listed.stdout
        assert f"daily-2026-11-05 to {A} is given up after 1 try: mail server" in listed.stderr
        failed = mill.quickly("report", "resend", "latest")
        assert (failed.returncode, f"not sent to {A}: mail server" in failed.stderr) == (1, True)
        server.refused = ()
        again = mill.quickly("report", "resend", "daily-2026-11-05")
        assert (again.returncode, again.stderr) == (0, f"sent to {A}\n")
        assert "nobody is without daily-2026-11-05" in mill.refused("report", "resend", "1")
        mill.quickly("report", "resend", "1", "--to", "new@acme.test")
    assert [mail["To"] for mail in server.mails] == [B, A, "new@acme.test"]
    page = mill.folder / "page.html"
    assert mill.quickly("report", "show", "1", "--output", page).returncode == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_asked_for(mill: Mill, database: Database, database_url: str) -> None:
    """Any days, in any format; mailed at once to whom one likes, with exit status 1 where the server refuses."""
    mill.environ["DATABASE_URL"] = database_url
    span = ("--since", "2026-11-05", "--until", "2026-11-06")
    shown = json.loads(mill.quickly("report", "usage", *span, "--format", "json").stdout)
    assert (shown["spend"]["cost_usd"], shown["period"]["since"]) == ("41.2", "2026-11-05T00:00:00Z")
    server = MailServer(refused=(A,))
    mill.environ |= {"SMTP_URL": f"smtp://127.0.0.1:{server.port}"}
    with server.up():
        mixed = mill.quickly("report", "usage", *span, "--email", A, "--email", f"Ops <{B}>")
    assert (mixed.returncode, mixed.stdout) == (1, "")
    assert f"error: not sent to {A}: mail server" in mixed.stderr
    assert f"sent to Ops <{B}>" in mixed.stderr
    assert [mail["To"] for mail in server.mails] == [f"Ops <{B}>"]
    assert "is not before" in mill.refused(
        "report", "usage", "--since", "2026-11-06", "--until", "2026-11-05"
    )
    assert "no mail address" in mill.refused("report", "usage", "--email", "nobody")
