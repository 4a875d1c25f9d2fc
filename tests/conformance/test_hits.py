"""What the cache answers while requests are claimed: each line once, counted once, and in nobody's way."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text, update

from batchmill.requests.model import BatchState, CacheMode, Lane, RequestState
from db import batches, claims
from db.engine import Database
from db.settle import Work
from db.settle import write as settle
from db.tables import cache_entries, ledger, shares
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, Worker, add_batch, batch_of, ledger_of, states_of
from tests.support.replies import ANSWERED, REFUSED
from tests.support.servers import PostgresCluster, on_postgresql

DONE, FAILED, CLAIMED, PENDING, WAITING = (
    RequestState.DONE,
    RequestState.FAILED,
    RequestState.CLAIMED,
    RequestState.PENDING,
    RequestState.WAITING,
)


def keep(database: Database, *keys: str, reply: Any = ANSWERED) -> None:
    """Have these questions answered so."""
    add_batch(database, keys)
    worker = Worker(database)
    worker.answer(reply, *worker.take())


def uses_of(database: Database) -> dict[str, int]:
    """How often each entry has answered."""
    with database.read() as tx:
        return {row.cache_key: row.usage_count for row in tx.rows(select(cache_entries))}


def take(database: Database, most: int, **which: Any) -> claims.Taken:
    """One claim with so much room."""
    room = dict.fromkeys(Lane, most)
    return database.persist(
        lambda tx: claims.take(tx, worker_id="one", room=room, lease_ms=LEASE_MS, **which)
    )


def test_hits_take_no_room(database: Database) -> None:
    """A claim goes on past what the cache answers until its room is full or the lines are out."""
    keep(database, "known")
    batch = add_batch(database, ["known"] * 50 + ["new-1"] + ["known"] * 50 + ["new-2", "new-3", "known"])
    taken = take(database, 2)
    assert ([job.cache_key for job in taken.jobs], taken.answered) == (["new-1", "new-2"], 100)
    assert states_of(database, batch) == [*[DONE] * 50, CLAIMED, *[DONE] * 50, CLAIMED, PENDING, PENDING]
    assert uses_of(database) == {"known": 100}
    audit(database)
    taken = take(database, 2)
    assert ([job.cache_key for job in taken.jobs], taken.answered) == (["new-3"], 1)
    assert (batch_of(database, batch).cached, batch_of(database, batch).done) == (101, 101)
    audit(database)


def test_last_line_answered_finalises(database: Database, clock: FakeClock) -> None:
    """A batch of nothing but known questions is over with its claim: no lease is left, nothing is called."""
    keep(database, "a", "b")
    clock.advance(5)
    batch = add_batch(database, ["a", "b"] * 100)
    assert (take(database, 8).lines, take(database, 8).lines) == (200, 0)
    row = batch_of(database, batch)
    assert (row.state, row.done, row.cached, row.calls) == (BatchState.FINALIZING, 200, 200, 0)
    assert row.finalizing_ms == clock.now_ms()
    assert uses_of(database) == {"a": 100, "b": 100}
    assert audit(database).claims == {}
    with database.read() as tx:
        assert {row.last_used_ms for row in tx.rows(select(cache_entries))} == {clock.now_ms()}


def test_a_claim_answers_no_more_than_so_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lines the cache can answer, one transaction stays short; the next goes on."""
    monkeypatch.setattr(claims, "MOST_ANSWERED_A_CLAIM", 20)
    keep(database, "known")
    batch = add_batch(database, ["known"] * 50)
    answered = []
    while lines := take(database, 4).lines:
        answered.append(lines)
        assert batch_of(database, batch).cursor == sum(answered), "no line is looked at again"
        audit(database)
    assert sum(answered) == 50
    assert max(answered) <= 24
    assert batch_of(database, batch).state == BatchState.FINALIZING


def test_remembered_refusal_fails_its_lines(database: Database) -> None:
    """What the provider refused for good is refused again without a call."""
    keep(database, "bad", reply=REFUSED)
    keep(database, "good")
    batch = add_batch(database, ["bad", "good", "bad"])
    assert take(database, 5).answered == 3
    assert states_of(database, batch) == [FAILED, DONE, FAILED]
    row = batch_of(database, batch)
    assert (row.state, row.done, row.failed, row.cached) == (BatchState.FINALIZING, 1, 2, 3)
    with database.read() as tx:
        entries = tx.rows(select(ledger).where(ledger.c.batch_id == batch).order_by(ledger.c.request_id))
    assert [(entry.kind, entry.success, entry.cost_nanos) for entry in entries] == [
        ("hit", False, 0),
        ("hit", True, 0),
        ("hit", False, 0),
    ]
    audit(database)


def test_what_does_not_count_is_claimed(database: Database, clock: FakeClock) -> None:
    """Neither an expired answer, nor one older than a refreshing batch, nor one for a line that may not share."""
    keep(database, "known")
    clock.advance(1)
    for keys, options in [(["known"], {"cache": CacheMode.REFRESH}), ([None], {}), (["other"], {})]:
        add_batch(database, keys, **options)  # type: ignore[arg-type]
        taken = take(database, 5)
        assert (len(taken.jobs), taken.answered) == (1, 0)
    clock.advance(30 * 86_400_000)
    add_batch(database, ["known"])
    taken = take(database, 5)
    assert (len(taken.jobs), taken.answered) == (1, 0)
    assert uses_of(database) == {"known": 0}
    audit(database)


def test_refresh_takes_what_came_since_it_began(database: Database) -> None:
    """A refreshing batch does use answers given since it was started."""
    batch = add_batch(database, ["known"] * 3, cache=CacheMode.REFRESH)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take(1))
    assert take(database, 5).answered == 2
    assert (batch_of(database, batch).calls, batch_of(database, batch).cached) == (1, 2)
    audit(database)


def test_entries_carry_what_they_should(database: Database) -> None:
    """A hit's ledger entry says whose it was and who had answered, as one that goes through a look-up."""
    keep(database, "known")
    whose = {"request_type": "quiz", "tenant": "school", "user": "u1", "agent": "tutor"}
    add_batch(database, ["known"] * 2, types=["", "drill"], **whose)
    assert take(database, 5).answered == 2
    worker = Worker(database)
    batch = add_batch(database, ["later"] * 2, types=["", "drill"], **whose)
    jobs = worker.claim(5)
    keep_in_between(database, "later")
    assert worker.look_up(jobs) == []
    with database.read() as tx:
        rows = tx.rows(select(ledger).where(ledger.c.kind == "hit").order_by(ledger.c.request_id))
    here, there = ([row for row in rows if (row.batch_id == batch) == later] for later in (False, True))
    differing = {"id", "batch_id", "request_id"}
    assert [row.request_type for row in here] == ["quiz", "drill"]
    for one, other in zip(here, there, strict=True):
        mine, theirs = one._asdict(), other._asdict()
        assert {name for name in mine if mine[name] != theirs[name]} <= differing


def keep_in_between(database: Database, key: str) -> None:
    """Have a question answered by someone whose claim comes first."""
    add_batch(database, [key], lane=Lane.HIGH)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take(lanes=[Lane.HIGH]))


def test_those_who_wait_for_a_newer_answer_go_on_waiting(database: Database, clock: FakeClock) -> None:
    """A refreshing batch asks and has followers; another's line is answered by the old entry, and touches neither."""
    keep(database, "known")
    clock.advance(1)
    anew = add_batch(database, ["known"] * 3, cache=CacheMode.REFRESH)
    worker = Worker(database)
    leaders = worker.take()
    batch = add_batch(database, ["known"])
    assert take(database, 5).answered == 1
    assert states_of(database, anew) == [CLAIMED, WAITING, WAITING]
    audit(database)
    worker.answer(ANSWERED, *leaders)
    assert states_of(database, anew) == [DONE] * 3
    assert batch_of(database, batch).cached == 1
    audit(database)


def test_a_retry_that_leads_ends_its_flight(database: Database) -> None:
    """A line to be tried again goes through the look-up as ever: the cache answers it, and those who wait for it."""
    batch = add_batch(database, ["same"] * 3)
    worker = Worker(database)
    leaders = worker.take()
    worker.hand_back(*leaders)
    with database.write() as tx:
        tx.run(text("UPDATE batches SET state = 'paused' WHERE id = :id"), id=batch)
    add_batch(database, ["other"])
    worker.answer(ANSWERED, *worker.take())
    with database.write() as tx:
        tx.run(update(cache_entries).values(cache_key="same"))
        batches.resume(tx, batch)
    taken = take(database, 5)
    assert (len(taken.jobs), taken.answered) == (1, 0)
    assert worker.look_up(taken.jobs) == []
    assert states_of(database, batch) == [DONE] * 3
    assert audit(database).flights == {}


@pytest.mark.parametrize("command", [batches.cancel, lambda tx, id_: batches.pause(tx, id_, "by hand")])
def test_a_batch_that_stands_still_is_not_answered(database: Database, command: Any) -> None:
    """Paused or being cancelled in the middle: what is left stays as it is."""
    keep(database, "known")
    batch = add_batch(database, ["known"] * 4 + ["new"] + ["known"] * 4)
    assert take(database, 1).answered == 4
    with database.write() as tx:
        command(tx, batch)
    assert take(database, 5).lines == 0
    assert states_of(database, batch) == [*[DONE] * 4, CLAIMED, *[PENDING] * 4]
    audit(database)


def test_answered_lines_are_charged(database: Database) -> None:
    """Tenants whose lines the cache answers take turns with those whose lines are called for."""
    keep(database, "known")
    crowded = add_batch(database, ["known"] * 5_000, tenant="crowded")
    add_batch(database, 500, tenant="small")
    taken = take(database, 64)
    by_tenant = Counter(job.batch.tenant for job in taken.jobs)
    assert by_tenant == {"small": 64}
    assert 48 <= taken.answered <= 80, "as many as the other tenant had in the same claim, to a turn"
    assert batch_of(database, crowded).cached == taken.answered
    with database.read() as tx:
        passes = {row.tenant: row[2] for row in tx.rows(select(shares)) if row.tenant in ("crowded", "small")}
    assert abs(passes["crowded"] - passes["small"]) <= 10 * 8


@on_postgresql
def test_an_entry_that_another_uses_is_not_waited_for(database: Database) -> None:
    """Who settles locks entries, then batches; who claims the other way round: what is locked goes to the look-up."""
    keep(database, "busy", "free")
    batch = add_batch(database, ["busy", "free", "busy"])
    worker = Worker(database)
    with ThreadPoolExecutor(1) as thread, database.write() as tx:
        tx.run(update(cache_entries).where(cache_entries.c.cache_key == "busy").values(rating=1))
        jobs = thread.submit(worker.claim, 5).result(30)
    assert [job.cache_key for job in jobs] == ["busy", "busy"]
    audit(database)
    assert worker.look_up(jobs) == []
    assert batch_of(database, batch).cached == 3
    assert uses_of(database) == {"busy": 2, "free": 1}
    audit(database)


def test_claims_and_settlements_at_once(postgres: PostgresCluster) -> None:
    """Four workers claim known lines of four batches, a fifth settles what they use: no deadlock, each line once."""
    url = postgres.create()
    database = Database(url)
    keys = [f"key-{nth}" for nth in range(50)]
    keep(database, *keys)
    ids = [add_batch(database, keys * 20, tenant=f"t{nth}") for nth in range(4)]
    over = threading.Event()

    def claim() -> None:
        own = Database(url)
        worker = Worker(own)
        while any(batch_of(own, batch).state == BatchState.IN_PROGRESS for batch in ids):
            assert worker.take(16, lanes=[Lane.NORMAL]) == []
        own.close()

    def settle_anew() -> None:
        own = Database(url)
        worker = Worker(own)
        while not over.is_set():
            add_batch(own, keys, cache=CacheMode.REFRESH, lane=Lane.HIGH)
            sent = worker.send(*worker.take(50, lanes=[Lane.HIGH]))
            judged = [worker.judge.judge(attempt, ANSWERED) for attempt in sent]
            own.persist(lambda tx, judged=judged: settle(tx, Work(outcomes=judged), worker.id))  # type: ignore[misc]
        own.close()

    with ThreadPoolExecutor(5) as threads:
        settling = threads.submit(settle_anew)
        claiming = [threads.submit(claim) for _ in range(4)]
        try:
            for thread in claiming:
                thread.result(120)
        finally:
            over.set()
        settling.result(120)
    rows = [batch_of(database, batch) for batch in ids]
    assert [(row.cached, row.calls) for row in rows] == [(1_000, 0)] * 4
    hits = sum(len(ledger_of(database, batch)) for batch in ids)
    assert hits == sum(uses_of(database).values()) == 4_000
    with database.read() as tx:
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert tx.rows(text(deadlocks))[0][0] == 0
    database.close()
    postgres.drop(url)
