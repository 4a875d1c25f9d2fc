"""Reports are made once and delivered once: by the rows alone, on both databases."""

from dataclasses import replace
from functools import partial

import pytest

from batchmill.errors import NotFoundError
from batchmill.reports.delivery import GIVE_UP_AFTER_MS, LEASE_MS, Delivery, DeliveryState
from batchmill.reports.model import Spend
from batchmill.reports.period import day_before
from db.engine import Database
from db.reports import deliveries, store
from db.reports.deliveries import Turn
from tests.support.clocks import FakeClock
from tests.support.reports import a_report

A, B = "a@acme.test", "b@acme.test"
HOUR_MS = 3_600_000


@pytest.fixture
def report_id(database: Database) -> int:
    """A report that is owed to two."""
    with database.write() as tx:
        stored = store.keep(tx, a_report(made_ms=tx.now_ms))
        deliveries.owe(tx, stored.id, [(A, "1@acme.test"), (B, "2@acme.test")])
    return stored.id


def take(database: Database) -> Turn | None:
    """The next turn."""
    return database.persist(deliveries.take)


def taken(database: Database) -> Turn:
    """The next turn, which there has to be."""
    turn = take(database)
    assert turn is not None
    return turn


def begin(database: Database, turn: Turn) -> bool:
    """Whether its mail may be handed over now."""
    return database.persist(lambda tx: deliveries.begin(tx, turn))


def state_of(database: Database, report_id: int, recipient: str = A) -> Delivery:
    """How far it has come."""
    with database.read() as tx:
        [found] = [one for one in deliveries.of_report(tx, report_id) if one.recipient == recipient]
    return found


def test_made_once(database: Database, report_id: int) -> None:
    """Who makes the report of the same day anew gets the one that there is; who is owed it stays so, and no more."""
    with database.write() as tx:
        again = store.keep(tx, a_report(spend=Spend()))
        deliveries.owe(tx, again.id, [(A, "other@acme.test")])
    assert again.id == report_id
    assert not again.report.spend.is_quiet
    assert state_of(database, report_id).message_id == "1@acme.test"


def test_found_by_name(database: Database, report_id: int) -> None:
    """By number, by name, or as the latest."""
    later = a_report(day_before(a_report().made_ms + 24 * HOUR_MS, "Europe/Berlin"))
    with database.write() as tx:
        second = store.keep(tx, replace(later, made_ms=tx.now_ms + 24 * HOUR_MS)).id
    with database.read() as tx:
        assert store.named(tx, str(report_id)).id == report_id
        assert store.named(tx, "daily-2026-11-19").id == report_id
        assert store.named(tx, "latest").id == second
        assert [one.name for one in store.listed(tx, most=5)] == ["daily-2026-11-20", "daily-2026-11-19"]
        with pytest.raises(NotFoundError, match='no report "weekly-x"'):
            store.named(tx, "weekly-x")


def test_one_at_a_time_has_a_turn(database: Database, clock: FakeClock, report_id: int) -> None:
    """A turn is one person's until its lease is over; then another's, and the first may not begin any more."""
    first, other = taken(database), taken(database)
    assert (first.recipient, other.recipient, take(database)) == (A, B, None)
    clock.advance(LEASE_MS)
    second = taken(database)
    assert (second.recipient, second.tries) == (A, 2)
    assert not begin(database, first)
    assert begin(database, second)
    assert not begin(database, second)


def test_killed_while_it_was_handed_over(database: Database, clock: FakeClock, report_id: int) -> None:
    """It is unknown once its lease is over, it is said once, and nobody takes it again."""
    turn = taken(database)
    assert begin(database, turn)
    assert database.persist(deliveries.flag_lost) == []
    clock.advance(LEASE_MS)
    [lost] = database.persist(deliveries.flag_lost)
    assert (lost.name, lost.recipient, lost.state) == ("daily-2026-11-19", A, DeliveryState.UNKNOWN)
    assert database.persist(deliveries.flag_lost) == []
    clock.advance(HOUR_MS)
    assert taken(database).recipient == B
    assert take(database) is None
    assert state_of(database, report_id).state is DeliveryState.UNKNOWN


def test_an_answer_that_comes_late_counts(database: Database, clock: FakeClock, report_id: int) -> None:
    """Whoever was taken for lost and was not: the mail has arrived, and that is noted."""
    turn = taken(database)
    begin(database, turn)
    clock.advance(LEASE_MS)
    database.persist(deliveries.flag_lost)
    database.persist(lambda tx: deliveries.note_sent(tx, turn))
    assert state_of(database, report_id).state is DeliveryState.SENT


def test_what_failed_waits_longer_each_time(database: Database, clock: FakeClock, report_id: int) -> None:
    """Ten seconds, twenty, forty; after a week it is given up, and said."""
    begin_ms = clock.now_ms()
    turn, other = taken(database), taken(database)
    begin(database, other)
    database.persist(lambda tx: deliveries.note_sent(tx, other))
    for wait_ms in (10_000, 20_000, 40_000):
        database.persist(partial(deliveries.note_failed, turn=turn, error="away"))
        found = state_of(database, report_id)
        assert (found.state, found.error) == (DeliveryState.PENDING, "away")
        assert found.next_try_ms == clock.now_ms() + wait_ms
        assert take(database) is None
        clock.advance(wait_ms)
        turn = taken(database)
    database.persist(partial(deliveries.note_failed, turn=turn, error="away"))
    clock.advance(GIVE_UP_AFTER_MS - (clock.now_ms() - begin_ms))
    [given_up] = database.persist(deliveries.flag_lost)
    assert (given_up.recipient, given_up.state) == (A, DeliveryState.GIVEN_UP)
    assert take(database) is None


def test_by_hand_it_is_sent_again(database: Database, clock: FakeClock, report_id: int) -> None:
    """What is unknown, refused or sent may be sent once more; what somebody is at just now may not."""
    unknown, refused = taken(database), taken(database)
    begin(database, unknown)
    assert database.persist(lambda tx: deliveries.reopen(tx, report_id, [A, B])) == []
    database.persist(lambda tx: deliveries.note_unknown(tx, unknown, "no answer"))
    database.persist(lambda tx: deliveries.note_refused(tx, refused, "550"))
    assert take(database) is None
    assert database.persist(lambda tx: deliveries.reopen(tx, report_id, [A, B])) == [A, B]
    assert taken(database).tries == 2


def test_the_next_report_says_of_how_many_nobody_knows(
    database: Database, clock: FakeClock, report_id: int
) -> None:
    """Once: the report after the next says nothing of them any more."""
    begin(database, taken(database))
    clock.advance(LEASE_MS)
    database.persist(deliveries.flag_lost)
    due_ms = a_report().made_ms
    for day, told in ((1, 1), (2, 0)):
        clock.advance(24 * HOUR_MS)
        period = day_before(due_ms + day * 24 * HOUR_MS, "Europe/Berlin")
        with database.write() as tx:
            assert store.unsure_since_last(tx, period) == told
            store.keep(tx, a_report(period, made_ms=tx.now_ms))


def test_an_installation_has_one_id(database: Database) -> None:
    """Made up once, then the same."""
    first, second = (database.persist(store.installation_id) for _ in range(2))
    assert first == second
    assert len(first) == 32
