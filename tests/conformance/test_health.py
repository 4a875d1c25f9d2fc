"""What a doctor sees of those who should be at work."""

from pathlib import Path

from batchmill.findings import Finding, Level
from batchmill.requests.model import BatchState
from batchmill.settings import load_settings
from db import sweep, workers
from db.engine import Database
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, make_judge
from workers.life import show_life
from workers.surroundings import at_work


def look(database: Database, home: Path, url: str = "") -> dict[str, Finding]:
    """What is found, by check; a second look finds what the first one did."""
    environ = {"BATCHMILL_HOME": str(home)} | ({"DATABASE_URL": url} if url else {})
    settings = load_settings(environ, None)
    return {finding.check: finding for finding in at_work(settings, database, pause=lambda _: None)}


def test_nothing_to_do(database: Database, tmp_path: Path) -> None:
    """An empty database needs no sweep and no worker."""
    assert {finding.level for finding in look(database, tmp_path).values()} == {Level.OK}


def test_work_that_nobody_claims(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """A batch that lies for a while is named with the provider it is meant for; one that has just come is not."""
    batch = add_batch(database, 3, upstream="http://there/v1")
    assert look(database, tmp_path)["work"].level is Level.OK
    clock.advance(31_000)
    finding = look(database, tmp_path)["work"]
    assert finding.level is Level.WARNING
    assert [example.batch for example in finding.examples] == [batch_of(database, batch).public_id]
    assert "http://there/v1" in finding.examples[0].detail


def test_work_behind_other_work(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """While anybody holds a claim for the same provider, whatever waits behind it is not forgotten."""
    add_batch(database, 3)
    add_batch(database, 3, upstream="http://elsewhere/v1")
    worker = Worker(database)
    worker.take(1)
    clock.advance(31_000)
    finding = look(database, tmp_path)["work"]
    assert [example.detail for example in finding.examples] == [
        "in lane normal, meant for http://elsewhere/v1"
    ]


def test_work_taken_up_between_two_looks(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """A worker between two claims is no reason to worry."""
    add_batch(database, 3)
    clock.advance(31_000)
    settings = load_settings({"BATCHMILL_HOME": str(tmp_path)}, None)
    findings = at_work(settings, database, pause=lambda _: Worker(database).take(1) and None)
    assert {finding.check: finding.level for finding in findings}["work"] is Level.OK


def test_sweep_that_does_not_come(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """Where there is unfinished work a sweep has to come; where there is none, it need not."""
    add_batch(database, 1)
    assert look(database, tmp_path)["sweep"].level is Level.WARNING
    sweep.sweep(database, make_judge(), "me")
    assert look(database, tmp_path)["sweep"].level is Level.OK
    clock.advance(61_000)
    finding = look(database, tmp_path, "postgresql://there/db")["sweep"]
    assert (finding.level, "61 s ago" in finding.message) == (Level.WARNING, True)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    sweep.sweep(database, make_judge(), "me")
    clock.advance(61_000)
    assert look(database, tmp_path)["sweep"].level is Level.OK


def test_claims_of_the_dead(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """A claim that ran out long ago, and that no sweep has taken back."""
    batch = add_batch(database, 1)
    Worker(database).take()
    sweep.sweep(database, make_judge(), "me")
    clock.advance(50_000)
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS
    finding = look(database, tmp_path)["sweep"]
    assert (finding.level, "not taken back: 1" in finding.message) == (Level.WARNING, True)


def test_workers_alive_and_dead(database: Database, tmp_path: Path) -> None:
    """A worker that holds its sign of life lives; looking leaves the sign of a dead one where it is."""
    with database.write() as tx:
        workers.register(tx, "alive", str(tmp_path))
        workers.register(tx, "dead", str(tmp_path))
        workers.register(tx, "elsewhere", "/another/home")
    sign = show_life(tmp_path, "alive")
    show_life(tmp_path, "dead").close()
    finding = look(database, tmp_path)["workers"]
    sign.close()
    assert finding.level is Level.WARNING
    assert "1 alive" in finding.message
    assert "1 dead, 1 elsewhere" in finding.message
    assert [example.detail for example in finding.examples] == ["worker dead is dead"]
    assert (tmp_path / "run" / "workers" / "dead").exists()
