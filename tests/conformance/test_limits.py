"""The limits' store, on both databases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchmill.providers.limits import LIMIT_NAMES, Limits
from db import limits
from db.engine import Database

FULL = Limits(
    provider="openai",
    model="big/model:free",
    rpm=1,
    tpm=10**12,
    input_tpm=3,
    output_tpm=4,
    concurrency=5,
)


def put(database: Database, *wanted: Limits) -> None:
    """Set them, one after the other."""
    with database.write() as tx:
        for one in wanted:
            limits.merge(tx, one)


def found(database: Database, **wanted: str) -> list[Limits]:
    """Those that are set."""
    with database.read() as tx:
        return limits.entries(tx, **wanted)


@pytest.fixture
def others(database_url: str) -> Iterator[list[Database]]:
    """A process's way to the same database for each kind of limit."""
    opened = [Database(database_url) for _ in LIMIT_NAMES]
    yield opened
    for database in opened:
        database.close()


@pytest.mark.parametrize("wanted", [FULL, Limits(provider="local", concurrency=1)])
def test_what_is_kept_is_what_was_given(database: Database, wanted: Limits) -> None:
    """Every limit comes back as it was, one that is not set as not set."""
    put(database, wanted)
    assert found(database) == [wanted]


def test_what_is_not_named_stays(database: Database) -> None:
    """A second setting changes its own."""
    put(database, Limits(provider="openai", rpm=5, tpm=6), Limits(provider="openai", rpm=7, concurrency=8))
    assert found(database) == [Limits(provider="openai", rpm=7, tpm=6, concurrency=8)]


def test_a_provider_and_its_models_have_limits_of_their_own(database: Database) -> None:
    """In order, the provider's own first; any of them can be asked for."""
    whole = Limits(provider="openai", rpm=1)
    mini, other = (
        Limits(provider="openai", model="mini", rpm=2),
        Limits(provider="gemini", model="mini", rpm=3),
    )
    put(database, mini, whole, other)
    assert found(database) == [other, whole, mini]
    assert found(database, provider="openai") == [whole, mini]
    assert found(database, provider="openai", model="") == [whole]
    assert found(database, model="mini") == [other, mini]
    assert found(database, provider="local") == []


def test_removing_takes_one_row(database: Database) -> None:
    """And tells whether there was one."""
    whole, mini = Limits(provider="openai", rpm=1), Limits(provider="openai", model="mini", rpm=2)
    put(database, whole, mini)
    with database.write() as tx:
        assert limits.remove(tx, "openai", "")
        assert not limits.remove(tx, "openai", "")
        assert not limits.remove(tx, "openai", "maxi")
    assert found(database) == [mini]


def test_many_at_once_lose_nothing(database: Database, others: list[Database]) -> None:
    """Each sets another limit of the same model; all are set in the end."""

    def put_one(number: int) -> None:
        put(others[number], Limits(provider="openai", **{LIMIT_NAMES[number]: number + 1}))

    with ThreadPoolExecutor(len(others)) as threads:
        list(threads.map(put_one, range(len(others))))
    assert found(database)[0].given == {name: number + 1 for number, name in enumerate(LIMIT_NAMES)}


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_a_limit_is_one_or_more(name: str) -> None:
    """None at all is said by taking it away."""
    with pytest.raises(ValueError, match=f"{name} of openai is below 1"):
        Limits(provider="openai", **{name: 0})
