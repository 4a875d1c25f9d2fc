"""Steering: what may be done to a batch in which state, and what comes of it."""

from pathlib import Path

import pytest

from batchmill.errors import ConflictError
from batchmill.requests.model import BatchOptions, BatchState, RequestState
from batchmill.settings import Settings, load_settings
from db import batches
from db.engine import Database
from tests.support.audit import audit
from tests.support.hands import Worker, add_batch, batch_of, states_of
from tests.support.replies import ANSWERED
from workers import attendance, steering
from workers.upkeep import UNATTENDED

NOBODY = "no worker serves this home: start one with `batchmill worker`"
CANCELLED, DONE = RequestState.CANCELLED, RequestState.DONE


def cancel(database: Database, settings: Settings, batch: int) -> BatchState:
    """Cancel; the state afterwards."""
    return BatchState(steering.cancel(database, settings, batch_of(database, batch)).state)


def for_path(database: Database, batch: int, path: Path) -> None:
    """Make a batch one of `batchmill run`."""
    with database.write() as tx:
        tx.run(
            batches.batches.update().where(batches.batches.c.id == batch),
            output_path=str(path),
            errors_path=str(path),
        )


def test_cancelled_with_nobody_at_work(database: Database, settings: Settings) -> None:
    """It ends at once; what is answered stays answered."""
    batch = add_batch(database, 4)
    worker = Worker(database)
    jobs = worker.take(2)
    worker.answer(ANSWERED, jobs[0])
    worker.hand_back(jobs[1])
    assert cancel(database, settings, batch) is BatchState.CANCELLED
    assert states_of(database, batch) == [DONE, CANCELLED, CANCELLED, CANCELLED]
    audit(database)


def test_cancelled_while_a_call_is_out(database: Database, settings: Settings) -> None:
    """It waits for that call, a second cancel does no harm, and no other call is allowed."""
    batch = add_batch(database, 3)
    worker = Worker(database)
    jobs = worker.take(2)
    (attempt,) = worker.send(jobs[0])
    assert cancel(database, settings, batch) is BatchState.CANCELLING
    assert worker.send(jobs[1]) == []
    worker.hand_back(jobs[1])
    assert cancel(database, settings, batch) is BatchState.CANCELLING
    worker.settle((attempt, ANSWERED))
    assert states_of(database, batch) == [DONE, CANCELLED, CANCELLED]
    assert batch_of(database, batch).state == BatchState.FINALIZING
    audit(database)


def test_cancelled_while_its_input_is_read(database: Database, settings: Settings) -> None:
    """It fails, and the ingest finds that it is no longer wanted."""
    with database.write() as tx:
        batch = batches.create(tx, BatchOptions()).id
    assert cancel(database, settings, batch) is BatchState.FAILED
    with database.write() as tx:
        assert not batches.touch(tx, batch)


def test_paused_and_resumed(database: Database, settings: Settings) -> None:
    """What was claimed before is not sent; resumed, it is."""
    batch = add_batch(database, 2)
    worker = Worker(database)
    jobs = worker.take()
    row = steering.pause(database, settings, batch_of(database, batch), "lunch")
    assert (row.state, row.paused_reason) == (BatchState.PAUSED, "paused by hand: lunch")
    assert worker.send(*jobs) == []
    worker.hand_back(*jobs)
    row = steering.resume(database, settings, row)
    assert (row.state, row.paused_reason) == (BatchState.IN_PROGRESS, "")
    worker.answer(ANSWERED, *worker.take())
    assert states_of(database, batch) == [DONE, DONE]


def test_wrong_states_are_named(database: Database, settings: Settings) -> None:
    """Every refusal says what the batch is, and changes nothing."""
    batch = add_batch(database, 1)

    def refusal(do: object) -> str:
        arguments = (database, settings, batch_of(database, batch))
        with pytest.raises(ConflictError) as caught:
            do(*arguments)  # type: ignore[operator]
        assert caught.value.hint
        return caught.value.message

    assert "cannot be resumed: it is in_progress" in refusal(steering.resume)
    steering.pause(database, settings, batch_of(database, batch))
    assert "is paused already: paused by hand" in refusal(steering.pause)
    steering.cancel(database, settings, batch_of(database, batch))
    for do in (steering.pause, steering.resume, steering.cancel):
        assert "it is cancelled" in refusal(do)
    with database.write() as tx:
        batch = batches.create(tx, BatchOptions()).id
    with attendance.attend_ingest(settings, batch_of(database, batch).public_id):
        for do in (steering.pause, steering.resume):
            assert "its input is still being read" in refusal(do)


def test_a_run_s_batch_is_its_command_s(database: Database, settings: Settings, tmp_path: Path) -> None:
    """While a command comes for the files, cancelling leaves them to it, and resuming is no question."""
    output = tmp_path / "out.jsonl"
    batch = add_batch(database, 2)
    for_path(database, batch, output)
    with attendance.attend(settings, output):
        steering.pause(database, settings, batch_of(database, batch))
        steering.resume(database, settings, batch_of(database, batch))
        assert cancel(database, settings, batch) is BatchState.FINALIZING
    assert batch_of(database, batch).output_path == str(output)


def test_a_run_that_has_gone_is_given_up(database: Database, settings: Settings, tmp_path: Path) -> None:
    """Nobody would answer it if it were resumed; cancelled, it ends without its command."""
    batch = add_batch(database, 2)
    for_path(database, batch, tmp_path / "out.jsonl")
    with database.write() as tx:
        batches.pause(tx, batch, UNATTENDED)
    with pytest.raises(ConflictError, match="was made by `batchmill run`"):
        steering.resume(database, settings, batch_of(database, batch))
    assert batch_of(database, batch).state == BatchState.PAUSED
    assert cancel(database, settings, batch) is BatchState.CANCELLED
    assert batch_of(database, batch).output_path is None


def test_a_command_of_another_machine_may_come(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """On a shared database a running batch of a run we cannot see is left to its command; an embedded one has gone."""
    batch = add_batch(database, 2)
    for_path(database, batch, tmp_path / "out.jsonl")
    state = cancel(database, settings, batch)
    is_shared = database.dialect == "postgresql"
    assert state is (BatchState.FINALIZING if is_shared else BatchState.CANCELLED)
    assert (batch_of(database, batch).output_path is not None) == is_shared


def test_nobody_is_told(database: Database, database_url: str, settings: Settings, tmp_path: Path) -> None:
    """Why no worker comes at once is said, and what will happen: no broker, one that is away, no worker at home."""
    row = batch_of(database, add_batch(database, 1))
    is_shared = database.dialect == "postgresql"
    said = steering.call_workers(database, settings, row)
    assert said == ("BROKER_URL is not set: workers find it at the next sweep" if is_shared else NOBODY)
    with attendance.attend_home(settings):
        assert is_shared or steering.call_workers(database, settings, row) == ""
    assert is_shared or steering.call_workers(database, settings, row) == NOBODY
    away = settings.to_environ() | {"BROKER_URL": "redis://127.0.0.1:9/0"}
    said = steering.call_workers(database, load_settings(away, None), row)
    assert "127.0.0.1:9" in said
    assert said.endswith(": workers find it at the next sweep")
