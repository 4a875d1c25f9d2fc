"""The store of providers' checks, on both databases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from batchmill.providers.health import Check, Health
from db import provider_checks
from db.engine import Database
from tests.support.clocks import FakeClock

HERE, THERE = "http://here/v1", "http://there/v1"


def check(ok: bool = True, provider: str = "openai", upstream: str = HERE) -> Check:
    """What a look has shown."""
    fault = {} if ok else {"error_code": "connect_failed", "error_message": "nobody, “there”"}
    return Check(provider=provider, upstream=upstream, latency_ms=7, **fault)


def record(database: Database, clock: FakeClock, *checks: Check) -> None:
    """Enter them, a second apart; the clock ends at the last."""
    for number, one in enumerate(checks):
        clock.advance(1_000 if number else 0)
        with database.write() as tx:
            provider_checks.record(tx, one)


def health(database: Database, provider: str = "openai", upstream: str = HERE) -> Health | None:
    """How a provider is."""
    with database.read() as tx:
        return provider_checks.health(tx, {provider: upstream}).get(provider)


def count(database: Database, provider: str = "openai") -> int:
    """How many checks of it are kept."""
    with database.read() as tx:
        kept = text("SELECT count(*) AS n FROM provider_checks WHERE provider = :provider")
        return int(tx.rows(kept, provider=provider)[0].n)


@pytest.fixture
def others(database_url: str) -> Iterator[list[Database]]:
    """Four more processes' ways to the same database."""
    opened = [Database(database_url) for _ in range(4)]
    yield opened
    for database in opened:
        database.close()


def test_one_never_looked_at_is_left_out(database: Database, clock: FakeClock) -> None:
    """Nothing is known of it, nor of a known one at another address."""
    record(database, clock, check())
    with database.read() as tx:
        known = provider_checks.health(tx, {"openai": HERE, "local": HERE})
    assert known.keys() == {"openai"}
    assert health(database, upstream=THERE) is None


@pytest.mark.parametrize("ok", [True, False])
def test_what_is_kept_is_what_was_found(database: Database, clock: FakeClock, ok: bool) -> None:
    """The last check, whole, and when it was."""
    record(database, clock, check(not ok), check(ok))
    found = health(database)
    assert found is not None
    assert (found.last, found.at_ms, found.since_ms) == (check(ok), clock.now_ms(), clock.now_ms())
    assert found.last_ok_ms == clock.now_ms() - (0 if ok else 1_000)


def test_since_when_it_fails(database: Database, clock: FakeClock) -> None:
    """From the first failure after the last time that all was well."""
    began = clock.now_ms()
    record(database, clock, *map(check, (False, True, True, False, False, False)))
    found = health(database)
    assert found is not None
    assert (found.since_ms - began, found.last_ok_ms) == (3_000, began + 2_000)


def test_one_that_was_never_well(database: Database, clock: FakeClock) -> None:
    """It has failed since the first look."""
    began = clock.now_ms()
    record(database, clock, check(False), check(False))
    found = health(database)
    assert found is not None
    assert (found.since_ms, found.last_ok_ms) == (began, None)


def test_another_address_and_another_provider_do_not_meddle(database: Database, clock: FakeClock) -> None:
    """What was found there neither ends nor begins anything here."""
    began = clock.now_ms()
    record(database, clock, check(False), check(upstream=THERE), check(provider="local"), check(False))
    found = health(database)
    assert found is not None
    assert (found.since_ms, found.last_ok_ms) == (began, None)


@pytest.mark.parametrize("ok", [True, False])
def test_history_is_bounded_and_since_when_stays_known(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, ok: bool
) -> None:
    """The newest are kept; also of a state that is older than all of them it is known when it began."""
    monkeypatch.setattr(provider_checks, "KEPT", 5)
    record(database, clock, check(provider="local"), check(ok), check(not ok))
    clock.advance(1_000)
    began = clock.now_ms()
    record(database, clock, *[check(ok)] * 20)
    assert (count(database), count(database, "local")) == (7, 1)
    found = health(database)
    assert found is not None
    assert (found.since_ms, found.at_ms) == (began, clock.now_ms())
    assert found.last_ok_ms == (clock.now_ms() if ok else began - 1_000)


def test_a_thousand_are_kept(database: Database) -> None:
    """Of each provider."""
    with database.write() as tx:
        for _ in range(1_010):
            provider_checks.record(tx, check())
    assert provider_checks.KEPT == 1_000
    assert count(database) == 1_001


def test_many_at_once(database: Database, others: list[Database], monkeypatch: pytest.MonkeyPatch) -> None:
    """None fails, and the history stays bounded."""
    monkeypatch.setattr(provider_checks, "KEPT", 5)

    def look(other: Database) -> None:
        for number in range(20):
            other.persist(lambda tx, ok=number % 3 > 0: provider_checks.record(tx, check(ok)))  # type: ignore[misc]

    with ThreadPoolExecutor(len(others)) as threads:
        list(threads.map(look, others))
    record_once_more = check()
    with database.write() as tx:
        provider_checks.record(tx, record_once_more)
    assert count(database) <= 7
