"""Direct requests in the database: entered, looked up and ended like any other, in fewer steps."""

from typing import Any

import pytest

from batchmill.requests.model import BatchOptions, BatchState, CacheMode, Endpoint, RequestLine, RequestState
from batchmill.requests.work import Outcome, Send
from db import batches, direct, listings, settle, sweep
from db.direct import Entered, Entry
from db.engine import Database
from db.settle import Work
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, send_of
from tests.support.replies import ANSWERED, PRICE_NANOS, make_judge

KEY = "ab" * 32


def entry_of(key: str | None = KEY, **options: Any) -> Entry:
    """A question, known by that key."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    return Entry(
        public_id=direct.new_entry_id(),
        line=RequestLine(1, "direct", Endpoint.CHAT, "gpt-4o-mini", body),
        options=BatchOptions(**options),
        cache_key=key,
        upstream="openai",
        within_ms=60_000,
    )


def enter(database: Database, *entries: Entry) -> list[Entered]:
    """What comes of entries that are written together."""
    with database.write() as tx:
        written = settle.write(tx, Work(entries=list(entries)), "desk", lease_ms=LEASE_MS)
    return [written.entered[entry.public_id] for entry in entries]


def called(database: Database, entered: Entered, reply: Any = ANSWERED) -> Outcome:
    """Send and settle the call of one that was entered."""
    assert entered.job is not None
    claims_open = {entered.job.claim_id: 1}
    send: Send = send_of(entered.job)
    with database.write() as tx:
        sent = settle.write(tx, Work(sends=[send], open=claims_open), "desk")
    outcome = make_judge().judge(sent.attempts[entered.request_id], reply)
    with database.write() as tx:
        settle.write(tx, Work(outcomes=[outcome], open=claims_open), "desk")
    return outcome


def row_of(database: Database, entered: Entered) -> Any:
    """Its batch."""
    with database.read() as tx:
        return batches.rows(tx, [entered.batch_id])[entered.batch_id]


def test_a_request_is_entered_claimed_and_ready_to_be_called(database: Database) -> None:
    """One transaction makes a running batch of one line, claimed by the worker that entered it, with its question."""
    (entered,) = enter(database, entry_of(tenant="acme"))
    assert entered.standing is None
    assert entered.job is not None
    assert (entered.job.model, entered.job.body[:10]) == ("gpt-4o-mini", b'{"model":"')
    row = row_of(database, entered)
    assert (row.state, row.total, row.cursor, row.tenant) == (BatchState.IN_PROGRESS, 1, 1, "acme")
    assert audit(database).requests[entered.request_id].state == RequestState.CLAIMED


def test_a_request_ends_its_batch(database: Database) -> None:
    """It owes nobody files: settled, its batch is completed in the same transaction, and nothing of it is left."""
    (entered,) = enter(database, entry_of())
    called(database, entered)
    row = row_of(database, entered)
    assert (row.state, row.done, row.spent_nanos) == (BatchState.COMPLETED, 1, PRICE_NANOS)
    assert row.ended_ms is not None
    books = audit(database)
    assert (books.claims, books.flights) == ({}, {})


def test_a_hit_costs_one_transaction(database: Database) -> None:
    """What has been answered is answered as it is entered, with the answer itself, and no call."""
    (first,) = enter(database, entry_of())
    called(database, first)
    (again,) = enter(database, entry_of())
    assert again.job is None
    assert again.standing is not None
    assert (again.standing.state, again.standing.body) == (RequestState.DONE, ANSWERED.body)
    assert (again.standing.is_cached, again.standing.cost_nanos) == (True, 0)
    assert row_of(database, again).state == BatchState.COMPLETED
    assert len(audit(database).attempts) == 1


def test_who_asks_anew_is_called_for(database: Database, clock: FakeClock) -> None:
    """With `refresh` an answer from before does not count."""
    (first,) = enter(database, entry_of())
    called(database, first)
    clock.advance(1)
    (anew,) = enter(database, entry_of(cache=CacheMode.REFRESH))
    assert anew.job is not None


def test_of_those_who_ask_the_same_one_is_called_for(database: Database) -> None:
    """The others wait, and its answer is theirs, whether they came with it or after it."""
    both, (later,) = enter(database, entry_of(), entry_of()), enter(database, entry_of())
    leader, follower = sorted(both, key=lambda one: one.job is None)
    assert (follower.job, later.job) == (None, None)
    called(database, leader)
    with database.read() as tx:
        stand = direct.standings(tx, [follower.request_id, later.request_id])
    assert all(one.state is RequestState.DONE and one.is_cached for one in stand.values())
    assert all(row.state == BatchState.COMPLETED for row in audit(database).batches.values())


def test_many_are_entered_together(database: Database) -> None:
    """However many share a transaction, each is its own batch under its own claim."""
    entered = enter(database, *(entry_of(None) for _ in range(50)))
    assert len({one.batch_id for one in entered}) == 50
    assert len({one.job.claim_id for one in entered if one.job is not None}) == 50
    audit(database)


@pytest.mark.parametrize("is_sent", [True, False])
def test_a_lost_worker_s_request_is_not_called_for_twice(
    database: Database, clock: FakeClock, is_sent: bool
) -> None:
    """Who waited for it is gone with the worker: what was sent is unknown, and fails; what was not is not billed."""
    (entered,) = enter(database, entry_of())
    assert entered.job is not None
    if is_sent:
        with database.write() as tx:
            work = Work(sends=[send_of(entered.job)], open={entered.job.claim_id: 1})
            settle.write(tx, work, "desk")
    clock.advance(LEASE_MS + 1)
    sweep.sweep(database, make_judge(), "test")
    expected = RequestState.FAILED if is_sent else RequestState.PENDING
    assert audit(database).requests[entered.request_id].state == expected
    clock.advance(60_000)
    sweep.sweep(database, make_judge(), "test")
    assert row_of(database, entered).ended_ms is not None


def test_direct_requests_are_no_batches_to_list(database: Database) -> None:
    """Who lists batches sees none of them."""
    enter(database, entry_of())
    with database.read() as tx:
        assert listings.page(tx, most=10) == []
