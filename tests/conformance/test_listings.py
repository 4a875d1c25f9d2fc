"""Which batch is meant by a name, and which are listed."""

import pytest

from batchmill.errors import NotFoundError
from batchmill.requests.model import BatchState
from db import batches, claims, listings
from db.engine import Database
from db.tables import batches as batch_rows
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED
from workers.naming import batch_named
from workers.views import view_with_pace


def named(database: Database, batch: int, public_id: str) -> None:
    """Give a batch a name of the test's choice."""
    with database.write() as tx:
        tx.run(batch_rows.update().where(batch_rows.c.id == batch), public_id=public_id)


def test_a_batch_goes_by_its_id_or_the_beginning_of_it(database: Database) -> None:
    """With or without `batch_`, six digits at least; or the newest."""
    first, second = add_batch(database, 1), add_batch(database, 1)
    named(database, first, "batch_aaaaaa111111111111111111")
    named(database, second, "batch_aaaaaa222222222222222222")
    for name in ("batch_aaaaaa111111111111111111", "batch_aaaaaa1", "aaaaaa11"):
        assert batch_named(database, name).id == first
    assert batch_named(database, "latest").id == second


@pytest.mark.parametrize(
    "name", ["batch_aaaaaa", "batch_aaaaa", "batch_bbbbbb", "batch_%aaaaa", "batch_aaaaa_", "", "Latest"]
)
def test_names_that_fit_none_or_two(database: Database, name: str) -> None:
    """Each is refused, and named."""
    for digit in "12":
        named(database, add_batch(database, 1), "batch_aaaaaa" + digit * 18)
    with pytest.raises(NotFoundError) as caught:
        batch_named(database, name)
    assert f'"{name}"' in caught.value.message
    assert "batchmill list" in caught.value.hint


def test_there_is_no_latest_yet(database: Database) -> None:
    """Neither in an empty database nor without one."""
    for where in (database, None):
        with pytest.raises(NotFoundError, match="latest"):
            batch_named(where, "latest")


def test_pages_newest_first(database: Database) -> None:
    """By state, job and tenant; a page goes on where the one before ended."""
    one = add_batch(database, 1, job_name="nightly", tenant="a")
    two = add_batch(database, 1, job_name="nightly", tenant="b")
    three = add_batch(database, 1, tenant="b")
    with database.write() as tx:
        batches.pause(tx, two, "by hand")

    def page(**which: object) -> list[int]:
        with database.read() as tx:
            return [row.id for row in listings.page(tx, **({"most": 10} | which))]  # type: ignore[arg-type]

    assert page() == [three, two, one]
    assert page(most=2) == [three, two]
    assert page(before=two) == [one]
    assert page(job_name="nightly") == [two, one]
    assert page(tenant="b", states=[BatchState.IN_PROGRESS]) == [three]
    assert page(states=[BatchState.PAUSED, BatchState.FAILED]) == [two]


def test_an_embedded_worker_claims_what_was_submitted(database: Database) -> None:
    """A batch that some command comes for is not claimed, not rung for, and not waited for."""
    owed, submitted = add_batch(database, 2), add_batch(database, 3)
    with database.write() as tx:
        tx.run(batch_rows.update().where(batch_rows.c.id == owed), output_path="/out")
        assert claims.lanes_with_work(tx, submitted_for=[""]) == {"normal": (submitted, 3)}
        assert claims.lanes_with_work(tx, submitted_for=["http://elsewhere"]) == {}
        assert [row.id for row in listings.submitted_to_do(tx)] == [submitted]
        room = {batch_of(database, owed).lane: 10}
        taken = claims.take(tx, worker_id="w", room=room, lease_ms=1, runs_too=False)
        assert {job.batch.id for job in taken.jobs} == {submitted}
        taken = claims.take(tx, worker_id="w", room=room, lease_ms=1)
        assert {job.batch.id for job in taken.jobs} == {owed}


def test_the_pace_of_a_batch(database: Database, clock: FakeClock) -> None:
    """What was answered in the last minute, and how long the rest takes at that rate."""
    batch = add_batch(database, 40)
    worker = Worker(database)
    assert view_with_pace(database, batch_of(database, batch))["left_s"] is None
    clock.advance(10_000)
    worker.answer(ANSWERED, *worker.take(20))
    shown = view_with_pace(database, batch_of(database, batch))
    assert (shown["rate_per_s"], shown["left_s"]) == (2.0, 10.0)
    clock.advance(61_000)
    assert view_with_pace(database, batch_of(database, batch))["left_s"] is None
