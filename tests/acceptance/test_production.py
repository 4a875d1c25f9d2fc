"""Grown up: workers, upkeep and beat as services on PostgreSQL and Valkey."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from batchmill.requests.lines import read_lines
from batchmill.requests.model import BatchOptions, BatchState, Lane
from batchmill.routing.upstreams import Upstreams
from db import attempts, batches, requests, schedules
from db.engine import Database
from db.schedules import RunRow, RunState
from tests.support.budgets import add_budget, fire
from tests.support.mill import Mill, chat_line, sandbox, wait_until, write_lines
from tests.support.receivers import Hanging, MailServer, served
from tests.support.servers import PostgresCluster
from workers.app import make_app
from workers.doorbell import Doorbell
from workers.intake import take_in


@pytest.fixture
def grown_up(mill: Mill, postgres: PostgresCluster, valkey_url: str) -> Iterator[tuple[Mill, Database]]:
    """An installation on a shared PostgreSQL and Valkey, and its database."""
    url = postgres.create()
    mill.environ |= {"DATABASE_URL": url, "BROKER_URL": valkey_url}
    database = Database(url)
    yield mill, database
    mill.kill_everything()
    database.close()
    postgres.drop(url)


@contextmanager
def service(mill: Mill, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A service for as long as the context lasts; it has to leave when asked to."""
    process = mill.start(*arguments)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
        assert "Traceback" not in out + err


def submit(database: Database, path: Path, lane: Lane, upstream: str) -> int:
    """Take a file in as a batch; its row number."""
    options = BatchOptions(lane=lane)
    with database.write() as tx:
        batch = batches.create(tx, options)
    with path.open("rb") as stream:
        take_in(
            database,
            batch,
            read_lines(stream),
            options,
            on_bad_line=lambda bad: pytest.fail(str(bad)),
            upstreams=Upstreams(addresses={"openai": upstream}, usable=frozenset({"openai"})),
        )
    return int(batch.id)


def state_of(database: Database, batch: int) -> BatchState:
    """The batch's state."""
    with database.read() as tx:
        return BatchState(batches.rows(tx, [batch])[batch].state)


def test_beat_finds_what_no_doorbell_told(grown_up: tuple[Mill, Database], tmp_path: Path) -> None:
    """A batch whose doorbell was never rung is found by the sweep, answered by a worker, and ended; an alert that
    nobody delivered goes out once."""
    mill, database = grown_up
    mail = MailServer()
    mill.environ |= {"SMTP_URL": f"smtp://127.0.0.1:{mail.port}", "ADMIN_EMAILS": "a@acme.test"}
    fire(database, add_budget(database, 5_000_000_000))
    path = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(200)])
    with sandbox(tmp_path) as witness, mail.up():
        mill.environ["OPENAI_BASE_URL"] = witness.url
        with service(mill, "worker"), service(mill, "worker", "--maintenance"), service(mill, "beat"):
            batch = submit(database, path, Lane.NORMAL, witness.url)
            wait_until(lambda: state_of(database, batch) is BatchState.COMPLETED, 60)
            wait_until(lambda: bool(mail.mails), 60)
        assert len(witness.calls()) == 200
    assert mail.subjects == ["[batchmill] 90 % of the global budget used: $4.51 of $5.00"]


def test_maintenance_tells_what_a_channel_lacks(grown_up: tuple[Mill, Database]) -> None:
    """Who delivers alerts warns when it begins that mail is wanted, and cannot be sent."""
    mill, _ = grown_up
    mill.environ["ADMIN_EMAILS"] = "a@acme.test"
    with service(mill, "worker", "--maintenance") as worker:
        assert worker.stderr is not None
        told = iter(worker.stderr.readline, "")
        assert any("alert_channel_not_set_up" in line and "SMTP_URL" in line for line in told)


def test_sigterm_lets_calls_in_flight_finish(grown_up: tuple[Mill, Database], tmp_path: Path) -> None:
    """A worker told to stop ends its calls, hands back the rest, leaves nothing unknown; another one goes on."""
    mill, database = grown_up
    path = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(300)])
    with sandbox(tmp_path, "--latency", "0.5-1.0") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        batch = submit(database, path, Lane.HIGH, witness.url)
        doorbell = Doorbell(make_app(mill.environ["BROKER_URL"]))
        with service(mill, "worker", "--concurrency", "32"):
            doorbell.ring(queue=Lane.HIGH, lane=Lane.HIGH, batch="label", requests=300)
            wait_until(lambda: len(witness.calls()) >= 60, 30)
        called = len(witness.calls())
        with database.read() as tx:
            counted = requests.count_by_state(tx, batch)
            assert attempts.unknown(tx, *requests.span(batch)) == []
        assert counted == {"done": called, "pending": 300 - called}
        with service(mill, "worker", "--concurrency", "64"):
            doorbell.ring(queue=Lane.HIGH, lane=Lane.HIGH, batch="label", requests=300)
            wait_until(lambda: state_of(database, batch) is BatchState.FINALIZING, 30)
        assert len(witness.calls()) == 300


def test_submitted_followed_and_steered(grown_up: tuple[Mill, Database], tmp_path: Path) -> None:
    """The same commands as at home; submit and resume ring for the workers, and results are followed from anywhere."""
    mill, _ = grown_up
    path = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(60)])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        submitted = [mill("submit", path, "--cache", "off") for _ in range(2)]
        assert [done.stderr for done in submitted] == ["60 requests accepted\n"] * 2
        first, second = (done.stdout.strip() for done in submitted)
        assert mill("pause", second).returncode == 0
        with service(mill, "worker"):  # it hears what was rung before; no sweep will ring
            followed = mill("results", first, "--follow")
            assert (followed.returncode, len(followed.stdout.splitlines())) == (0, 60)
            assert mill("resume", second).stdout == f"{second} in_progress\n"
            followed = mill("results", second, "--follow")
            assert (followed.returncode, len(followed.stdout.splitlines())) == (0, 60)
        assert len(witness.calls()) == 120


def test_two_beats_and_a_kill(grown_up: tuple[Mill, Database]) -> None:
    """Two beats ring, the broker is emptied, a beat and the maintenance worker are killed in the middle of a job: each
    due time is run once, and what was being run goes to another."""
    mill, database = grown_up
    hanging = Hanging()
    mill.environ |= {
        "BATCHMILL_BEAT_S": "1",
        "BATCHMILL_AT_SWEEP": "every 1s",
        "BATCHMILL_AT_ALERTS": "every 1d",
        "SMTP_URL": f"smtp://127.0.0.1:{hanging.port}",
        "ADMIN_EMAILS": "a@acme.test",
    }
    fire(database, add_budget(database, 5_000_000_000))
    with served(hanging.listen), service(mill, "beat"):
        killed, worker = mill.start("beat"), mill.start("worker", "--maintenance")
        sees_sweeps(database, 3)
        with redis.Redis.from_url(mill.environ["BROKER_URL"]) as broker:
            broker.flushall()
        killed.kill()
        sees_sweeps(database, 3)
        change(database, "UPDATE schedules SET since_ms = 0 WHERE name = 'alerts'")  # heard of long ago
        assert hanging.called.wait(60)
        os.killpg(worker.pid, signal.SIGKILL)
        [run] = job_runs(database, "alerts")
        assert (run.state, run.tries) == (RunState.RUNNING, 1)
        change(database, "UPDATE schedules SET lease_until_ms = 0")  # time goes by
        [run] = job_runs(database, "alerts")
        assert run.is_killed
        with service(mill, "worker", "--maintenance"):
            wait_until(lambda: job_runs(database, "alerts")[0].state is RunState.DONE, 60)
            sees_sweeps(database, 2)
    [run] = job_runs(database, "alerts")
    assert (run.tries, run.error) == (2, "")
    swept = job_runs(database, "sweep")
    assert {run.due_ms % 1000 for run in swept} == {0}
    again = [run for run in swept if run.tries > 1 or run.state is not RunState.DONE]
    assert len(again) <= 1, "the one that was killed"


def job_runs(database: Database, job: str) -> list[RunRow]:
    """The runs of a job, the last begun first."""
    with database.read() as tx:
        return schedules.listed(tx, job, most=1_000)


def sees_sweeps(database: Database, more: int) -> None:
    """Wait for so many more sweeps."""
    seen = len(job_runs(database, "sweep"))
    wait_until(lambda: len(job_runs(database, "sweep")) >= seen + more, 60)


def change(database: Database, sql: str) -> None:
    """Change the database, as time would."""
    with database.write() as tx:
        tx.run(text(sql))
