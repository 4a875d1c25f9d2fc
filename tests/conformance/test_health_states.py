"""States of health, on both databases: each change is told once, whoever checks, and what is kept stays small."""

import threading

import pytest

from batchmill.alerts.health import HealthAlert
from batchmill.alerts.message import Topic
from batchmill.health.course import HealthLevel, Observation
from db import alerts, health_states
from db.engine import Database
from db.health_states import FORGET_AFTER_MS
from tests.support.clocks import PATIENCE_S, FakeClock

OK, DEGRADED, FAILING = HealthLevel
ROUND_MS = 300_000


def check(database: Database, clock: FakeClock, *levels: HealthLevel, component: str = "broker") -> None:
    """A round of checks every five minutes that show these."""
    for level in levels:
        clock.advance(ROUND_MS)
        note(database, clock.now_ms(), level, component)


def note(database: Database, round_ms: int, level: HealthLevel, component: str = "broker") -> None:
    seen = Observation(component=component, level=level, message=f"it is {level}", hint="h", took_ms=7)
    database.persist(lambda tx: health_states.record(tx, round_ms, [seen]))


def told(database: Database) -> list[str]:
    """What people are told, in order."""
    with database.read() as tx:
        found = alerts.listed(tx, Topic.HEALTH, most=100)
    return [one.kind.value for one, _ in reversed(found)]


def changes(database: Database, component: str | None = None) -> list[HealthLevel]:
    with database.read() as tx:
        return [one.level for one in health_states.changes(tx, component, most=10_000)]


def components(database: Database) -> list[str]:
    with database.read() as tx:
        return [one.component for one in health_states.states(tx)]


def test_a_state_as_it_was_last_checked(database: Database, clock: FakeClock) -> None:
    """Level, since when, message, hint, how long it took; and what of it people know."""
    check(database, clock, OK, FAILING)
    begun_ms = clock.now_ms()
    check(database, clock, FAILING, FAILING)
    with database.read() as tx:
        [state] = health_states.states(tx)
    assert (state.level, state.since_ms, state.checked_ms) == (FAILING, begun_ms, clock.now_ms())
    assert (state.message, state.hint, state.took_ms) == ("it is failing", "h", 7)
    assert (state.told_level, state.ill_since_ms) == (FAILING, begun_ms)


def test_each_change_is_told_once(database: Database, clock: FakeClock) -> None:
    """A blip is not; what lasts is, once; that it is over, with how long it lasted from its first check on."""
    check(database, clock, OK, FAILING, OK, FAILING)
    begun_ms = clock.now_ms()
    check(database, clock, FAILING, FAILING, OK, OK)
    assert told(database) == ["failing", "recovered"]
    with database.read() as tx:
        [(recovered, deliveries), _] = alerts.listed(tx, most=9)
    assert isinstance(recovered, HealthAlert)
    assert (recovered.component, recovered.since_ms, deliveries) == ("broker", begun_ms, [])
    assert recovered.at_ms - recovered.since_ms == 3 * ROUND_MS


@pytest.mark.parametrize("checkers", [2, 4])
def test_checkers_at_the_same_time(database: Database, clock: FakeClock, checkers: int) -> None:
    """However many make a round at once, it counts once: they are no two bad checks in a row, and one alert comes."""
    check(database, clock, OK)
    for rounds, expected in ((1, []), (2, ["failing"]), (3, ["failing"])):
        clock.advance(ROUND_MS)
        begin = threading.Barrier(checkers)

        def work(begin: threading.Barrier = begin) -> None:
            begin.wait(PATIENCE_S)
            note(database, clock.now_ms(), FAILING)

        threads = [threading.Thread(target=work) for _ in range(checkers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert told(database) == expected, rounds


def test_first_checks_at_the_same_time(database: Database, clock: FakeClock) -> None:
    """Nor do they stumble over a component that nobody has heard of."""
    begin = threading.Barrier(3)

    def work() -> None:
        begin.wait(PATIENCE_S)
        note(database, clock.now_ms(), FAILING)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (components(database), told(database), changes(database)) == (["broker"], [], [FAILING])


def test_a_late_round_changes_nothing(database: Database, clock: FakeClock) -> None:
    """Who was stopped between looking and noting has seen what was; the later round has seen what is."""
    check(database, clock, OK, FAILING)
    late_ms = clock.now_ms() - 1
    note(database, late_ms, FAILING)
    assert told(database) == []
    check(database, clock, FAILING)
    note(database, late_ms, OK)
    assert told(database) == ["failing"]


def test_the_history_is_bounded(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each component the newest changes are kept, and what stays as it is adds nothing."""
    monkeypatch.setattr(health_states, "KEPT", 6)
    check(database, clock, OK, OK, DEGRADED, component="disk:here")
    check(database, clock, *[FAILING, OK] * 5)
    assert len(changes(database, "broker")) == 6
    assert changes(database, "broker")[:2] == [OK, FAILING]
    assert changes(database, "disk:here") == [DEGRADED]
    assert told(database) == []


def test_what_is_no_component_any_more_is_forgotten(database: Database, clock: FakeClock) -> None:
    """A provider that was taken out at once, with its history; another machine's disk by and by."""
    check(database, clock, FAILING, component="provider:openai")
    check(database, clock, OK, component="disk:there")
    check(database, clock, OK, component="disk:here")

    def forget() -> None:
        with database.write() as tx:
            health_states.forget(tx, ["disk:here"], of_other_machines="disk:")

    forget()
    assert components(database) == ["disk:here", "disk:there"]
    assert changes(database) == []
    clock.advance(FORGET_AFTER_MS - ROUND_MS)
    forget()
    assert components(database) == ["disk:here"]
