"""The cache fitted into its size: what is worth least goes, and nothing that is still needed."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import Phase as Part
from hypothesis import settings as run_with
from hypothesis import strategies as st
from sqlalchemy import select, update

from batchmill.cache.room import Room, Size, filled
from batchmill.cache.worth import rank_of
from batchmill.requests.model import CacheMode, Lane, OnUnknown
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db import cache_contents, claims, requests, schedules
from db.cache_contents import Choice
from db.cache_fitting import Phase, Stage
from db.engine import Database
from db.schedules import RunState
from db.settle import Work
from db.tables import answers, cache_entries
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, answer_late, send_of
from tests.support.replies import ANSWERED, UNKNOWN
from tests.support.servers import on_postgresql
from workers.cache_upkeep import CleanUp, clean_up
from workers.jobs import cache_cleanup
from workers.jobs.run import perform

DAY_MS = 86_400_000
_names = itertools.count()

entries = st.lists(
    st.fixed_dictionaries(
        {
            "is_late": st.booleans(),
            "uses": st.integers(0, 3),
            "padding": st.sampled_from([0, 500, 5_000]),
            "age_days": st.sampled_from([0, 1, 5, 20, 29, 35]),
            "cost_nanos": st.none() | st.integers(0, 10**7),
            "rating": st.none() | st.integers(1, 5),
            "verified": st.sampled_from([False, False, True]),
        }
    ),
    min_size=3,
    max_size=8,
)


def clean(database: Database, **how: Any) -> CleanUp:
    """Clean up without a pause."""
    room = Room(max_entries=how.pop("max_entries", 0), max_bytes=how.pop("max_bytes", 0))
    return clean_up(database, room, pause=lambda _: None, **how)


def stands(database: Database) -> dict[str, Any]:
    """Every entry, by its key."""
    with database.read() as tx:
        return {row.cache_key: row for row in tx.rows(select(cache_entries))}


def answer_ids(database: Database) -> set[int]:
    """Every answer there is."""
    with database.read() as tx:
        return {row.id for row in tx.rows(select(answers.c.id))}


def change(database: Database, key: str, **values: Any) -> None:
    """Make an entry look so."""
    with database.write() as tx:
        assert tx.run(update(cache_entries).where(cache_entries.c.cache_key == key).values(values)) == 1


def ask(database: Database, *keys: str) -> int:
    """A batch of these questions, answered; its row number."""
    worker = Worker(database)
    batch = add_batch(database, keys)
    worker.answer(ANSWERED, *worker.take())
    return batch


def make(database: Database, drawn: Sequence[dict[str, Any]]) -> list[int]:
    """A cache of just these entries; the batches whose results are to stay readable."""
    cache_contents.drop(database, Choice(made_by_ms=database.now_ms() + 100 * DAY_MS))
    keys = [f"key-{next(_names)}" for _ in drawn]
    worker, batches = Worker(database), []
    for is_late in (False, True):
        these = [key for key, one in zip(keys, drawn, strict=True) if one["is_late"] is is_late]
        if not these:
            continue
        batch = add_batch(database, these, on_unknown=OnUnknown.FAIL if is_late else OnUnknown.RETRY)
        sent = worker.send(*worker.take())
        if is_late:
            worker.settle(*((attempt, UNKNOWN) for attempt in sent))
        bodies = (b"x" * one["padding"] for one in drawn if one["is_late"] is is_late)
        worker.settle(
            *(
                (attempt, replace(ANSWERED, body=(ANSWERED.body or b"") + b" " * len(body)))
                for attempt, body in zip(sent, bodies, strict=True)
            )
        )
        batches.append(batch)
    used = [key for key, one in zip(keys, drawn, strict=True) for _ in range(one["uses"])]
    if used:
        batches.append(add_batch(database, used))
        assert worker.take() == []
    for key, one in zip(keys, drawn, strict=True):
        made_ms = database.now_ms() - one["age_days"] * DAY_MS
        change(
            database,
            key,
            **{name: one[name] for name in ("cost_nanos", "rating", "verified")},
            created_ms=made_ms,
            last_used_ms=made_ms if one["uses"] else None,
            expires_ms=made_ms + 30 * DAY_MS,
        )
    return batches


@run_with(
    max_examples=12, phases=[Part.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=entries, share=st.sampled_from([0.1, 0.4, 0.7, 0.9, 1.0]), is_by_bytes=st.booleans())
def test_whatever_is_in_it(
    database: Database, drawn: Sequence[dict[str, Any]], share: float, is_by_bytes: bool
) -> None:
    """It fits afterwards, or only verified answers are left; nothing verified is gone, no result has lost its answer,
    what stays is worth no less than what went, and a second clean-up finds nothing to do."""
    batches = make(database, drawn)
    before, now_ms = stands(database), database.now_ms()
    live = {key: row for key, row in before.items() if row.expires_ms > now_ms}
    held = Size(entries=len(live), answer_bytes=sum(row.answer_bytes for row in live.values()))
    limit = max(1, int(share * (held.answer_bytes if is_by_bytes else held.entries)))
    room = {"max_bytes" if is_by_bytes else "max_entries": limit}

    would = clean(database, is_dry=True, **room)
    assert stands(database) == before
    done = clean(database, **room)
    assert replace(would, is_done=True, steps=done.steps, longest_step_s=done.longest_step_s) == done

    left = stands(database)
    gone = {key: row for key, row in live.items() if key not in left}
    kept = {key: row for key, row in live.items() if key in left}
    assert {key for key, row in before.items() if row.verified} <= left.keys()
    assert all(row.verified for row in left.values() if row.expires_ms <= now_ms)
    assert done.left == Size(entries=len(kept), answer_bytes=sum(row.answer_bytes for row in kept.values()))
    size = done.left.answer_bytes if is_by_bytes else done.left.entries
    if (held.answer_bytes if is_by_bytes else held.entries) <= limit:
        assert not gone
    else:
        assert size <= filled(limit) or all(row.verified for row in kept.values())
    unverified = [_rank(row, now_ms) for row in kept.values() if not row.verified]
    assert not gone or max(_rank(row, now_ms) for row in gone.values()) <= min(unverified, default=10**9)
    for batch in batches:
        assert all(row.status_code in (200, None) for row in requests.results(database, batch))
    freed = {before[key].answer_id for key in before.keys() - left.keys()} - answer_ids(database)
    assert done.freed.answers == len(freed)
    audit(database)
    again = clean(database, **room)
    assert (again.expired.entries, again.fitted.gone) == (0, Size())


def _rank(row: Any, now_ms: int) -> int:
    idle_ms = now_ms - (row.created_ms if row.last_used_ms is None else row.last_used_ms)
    return rank_of(
        answer_bytes=row.answer_bytes,
        cost_nanos=row.cost_nanos,
        uses=row.usage_count,
        idle_ms=idle_ms,
        rating=row.rating,
    )


def test_row_of_an_entry_tells_its_worth(database: Database, clock: FakeClock) -> None:
    """Size and cost are those of the answer; an answer that takes the place of another takes over no opinion of it."""
    ask(database, "same")
    entry = stands(database)["same"]
    assert (entry.answer_bytes, entry.cost_nanos, entry.is_shared) == (
        len(ANSWERED.body or b""),
        1_000,
        False,
    )
    change(database, "same", rating=5, quality=0.9, verified=True)
    clock.advance(1)
    worker = Worker(database)
    add_batch(database, ["same"], cache=CacheMode.REFRESH)
    worker.answer(replace(ANSWERED, body=(ANSWERED.body or b"") + b"\n"), *worker.take())
    anew = stands(database)["same"]
    assert anew.answer_bytes == entry.answer_bytes + 1
    assert (anew.rating, anew.quality, anew.verified) == (None, None, False)


@pytest.mark.parametrize(("when", "left"), [(Phase.RANKING, 2), (Phase.DROPPING, 8)])
def test_used_meanwhile(database: Database, monkeypatch: pytest.MonkeyPatch, when: Phase, left: int) -> None:
    """What is used after its worth was counted, or told from its row, is worth more by then, and stays."""
    monkeypatch.setattr("db.cache_drops.ENTRIES_A_STEP", 2)
    ask(database, *(f"key-{nth}" for nth in range(10)))
    used: set[str] = set()

    def use(stage: Stage) -> None:
        if stage.phase is when and not used:
            used.update(sorted(stands(database))[:left])
            ask(database, *used)

    clean(database, max_entries=2, tell=use)
    assert used == stands(database).keys()
    assert len(used) == left
    audit(database)


@on_postgresql
def test_entry_in_use_stays(database: Database) -> None:
    """An entry that a transaction has just used, and not yet said so, is passed over; its answer stays."""
    answer_late(database, "used")
    answer_late(database, "other")
    batch = add_batch(database, ["used"])
    with database.write() as tx:
        assert claims.take(tx, worker_id="w", room={Lane.NORMAL: 1}, lease_ms=1).answered == 1
        clean(database, max_entries=1)
        assert stands(database).keys() == {"used"}
    assert [row.status_code for row in requests.results(database, batch)] == [200]
    audit(database)


def test_answer_to_two_questions(database: Database) -> None:
    """An answer that came late, and stands for two questions: it outlives the entry that nobody used."""
    worker = Worker(database)
    add_batch(database, ["any model"], on_unknown=OnUnknown.FAIL)
    (job,) = worker.take()
    send = send_of(job)
    work = Work(sends=[replace(send, asked=replace(send.asked, cache_key="this model"))])
    attempt = worker.write(work).attempts[job.request_id]
    worker.settle((attempt, UNKNOWN))
    worker.settle((attempt, ANSWERED))
    batch = ask(database, "this model")
    clean(database, max_entries=1)
    assert stands(database).keys() == {"this model"}
    assert [row.status_code for row in requests.results(database, batch)] == [200]
    audit(database)


def test_verified_beyond_its_time(database: Database, clock: FakeClock) -> None:
    """It answers no more, but is kept; nor does it go for being worth little."""
    ask(database, "verified", "other")
    change(database, "verified", verified=True, rating=1)
    assert clean(database, max_entries=1).fitted.gone.entries == 1
    assert stands(database).keys() == {"verified"}
    ask(database, "other")
    clock.advance(31 * DAY_MS)
    assert clean(database).expired.entries == 1
    assert stands(database).keys() == {"verified"}
    ask(database, "verified")
    assert not stands(database)["verified"].verified


def test_job_stops_and_goes_on(
    database: Database, clock: FakeClock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to stop, it ends between two steps, and hands its turn back; the next one does the rest. What came of it
    is told."""
    ask(database, *(f"key-{nth}" for nth in range(30)))
    clock.advance(31 * DAY_MS)
    ask(database, *(f"key-{nth}" for nth in range(30, 40)))
    in_force = settings.model_copy(update={"cache": settings.cache.model_copy(update={"max_entries": 5})})
    monkeypatch.setattr("db.cache_drops.ENTRIES_A_STEP", 7)
    calls = iter([False, False, True])
    due = (in_force, database, JobName.CACHE_CLEANUP, clock.now_ms(), cache_cleanup.run)
    assert perform(*due, stopping=lambda: next(calls), by_hand=True) is None
    assert len(stands(database)) == 40 - 3 * 7
    detail = perform(*due, by_hand=True)
    assert detail is not None
    assert (detail["expired"], detail["dropped_by_worth"], detail["entries"]) == (9, 5, 5)
    with database.read() as tx:
        assert schedules.last_runs(tx)[JobName.CACHE_CLEANUP].state is RunState.DONE
    audit(database)


@pytest.fixture(autouse=True)
def _small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages of everything, also where there are few."""
    monkeypatch.setattr("db.cache_fitting.ENTRIES_A_COUNT", 3)
    monkeypatch.setattr("db.cache_fitting.ENTRIES_A_PAGE", 4)
