"""The catalogue's store, on both databases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from batchmill.catalogue.edits import made_default, switched
from batchmill.catalogue.entries import Capability, ModelEntry, Tier
from batchmill.catalogue.prices import ModelPrices
from batchmill.catalogue.shipped import read_shipped
from batchmill.errors import ConflictError, NotFoundError
from db import catalogue
from db.engine import Database

SHIPPED = read_shipped().entries
FULL = ModelEntry(
    provider="acme",
    model="big/model:free",
    tier=Tier.PREMIUM,
    prices=ModelPrices(
        input_nanos_per_mtok=10**15, cached_input_nanos_per_mtok=1, output_nanos_per_mtok=0, nanos_per_request=3
    ),
    quality=0.9,
    latency_ms=1_200,
    context_tokens=1_000_000_000,
    output_cap_tokens=8_192,
    capabilities=frozenset(Capability),
    is_active=True,
    is_default=True,
    notes="ours, “quoted”\nand in two lines",
)  # fmt: skip
BARE = ModelEntry(provider="acme", model="bare", tier=Tier.CHEAP)


def model(name: str, **fields: Any) -> ModelEntry:
    """An entry of acme's."""
    return replace(BARE, model=name, **fields)


@pytest.fixture
def others(database_url: str) -> Iterator[list[Database]]:
    """Four more processes' ways to the same database."""
    opened = [Database(database_url) for _ in range(4)]
    yield opened
    for database in opened:
        database.close()


def fill(database: Database, *entries: ModelEntry) -> None:
    """Enter them."""
    with database.write() as tx:
        for entry in entries:
            catalogue.add(tx, entry)


def names(database: Database, **wanted: Any) -> list[str]:
    """The models found."""
    with database.read() as tx:
        return [entry.model for entry in catalogue.entries(tx, **wanted)]


def defaults(database: Database) -> list[tuple[str, str]]:
    """Tier and model of every default, from the table itself."""
    with database.read() as tx:
        found = tx.rows(text("SELECT tier, model FROM catalogue WHERE is_default ORDER BY tier, model"))
    return [(row.tier, row.model) for row in found]


@pytest.mark.parametrize("entry", [FULL, BARE, *SHIPPED], ids=lambda entry: entry.name)
def test_what_is_kept_is_what_was_given(database: Database, entry: ModelEntry) -> None:
    """Every field comes back as it was, prices to the nano-dollar, unknown ones as unknown."""
    fill(database, entry)
    with database.read() as tx:
        assert catalogue.find(tx, entry.provider, entry.model) == entry
        assert catalogue.entries(tx) == [entry]


def test_entries_by_provider_tier_and_activity(database: Database) -> None:
    """They come by provider, then from cheap to premium, then by name; each wish narrows them."""
    rows = [("z", Tier.CHEAP), ("a", Tier.PREMIUM), ("b", Tier.NORMAL), ("c", Tier.CHEAP)]
    fill(database, *(model(name, tier=tier) for name, tier in rows), model("off", is_active=False))
    fill(database, replace(BARE, provider="aaa", model="first"))
    assert names(database) == ["first", "c", "off", "z", "b", "a"]
    assert names(database, provider="acme", tier=Tier.CHEAP) == ["c", "off", "z"]
    assert names(database, active_only=True, provider="acme") == ["c", "z", "b", "a"]
    assert names(database, provider="nobody") == []


def test_own_prices_are_those_set_disabled_ones_too(database: Database) -> None:
    """Models that go by the list's price are not among them; what was called at a disabled one's is to be paid."""
    prices = ModelPrices(nanos_per_request=250_000_000)
    fill(database, BARE, FULL, model("off", prices=prices, is_active=False))
    with database.read() as tx:
        own = catalogue.own_prices(tx)
    assert FULL.prices is not None
    assert own == {FULL.key: FULL.prices.owner_price(), ("acme", "off"): prices.owner_price()}


def test_same_model_twice_is_refused(database: Database) -> None:
    """Adding does not overwrite: it names the entry, and what to do instead."""
    fill(database, BARE)
    with pytest.raises(ConflictError, match="acme/bare already") as refused:
        fill(database, replace(BARE, tier=Tier.NORMAL))
    assert "providers edit acme/bare" in refused.value.hint
    with database.read() as tx:
        assert catalogue.entries(tx) == [BARE]


@pytest.mark.parametrize(
    ("there", "asked", "hint"),
    [([], "acme/x", "providers setup"), ([BARE], "acme/barr", "acme/bare"), ([BARE], "q/zzz", "providers list")],
)  # fmt: skip
def test_unknown_model_is_refused_with_those_alike(
    database: Database, there: list[ModelEntry], asked: str, hint: str
) -> None:
    """A name that is not there is answered with the names that are spelt alike, or where to look."""
    fill(database, *there)
    with database.read() as tx, pytest.raises(NotFoundError, match=asked) as refused:
        catalogue.get(tx, *asked.split("/"))
    assert hint in refused.value.hint


def test_default_takes_over_from_the_one_before(database: Database) -> None:
    """A tier has one default, over all providers; other tiers' stay."""
    fill(database, FULL, model("one", is_default=True), model("two"))
    with database.write() as tx:
        catalogue.save(tx, made_default(catalogue.get(tx, "acme", "two")))
    assert defaults(database) == [("cheap", "two"), ("premium", FULL.model)]
    with database.write() as tx:
        catalogue.save(tx, switched(catalogue.get(tx, "acme", "two"), on=False))
        assert catalogue.default_of(tx, Tier.CHEAP) is None


def test_database_refuses_a_second_default_and_a_disabled_one(database: Database) -> None:
    """Whatever code writes: one default of a tier, and an active one, is what the table itself insists on."""
    fill(database, model("one", is_default=True), model("two"))
    for change in ("is_default = true WHERE model = 'two'", "is_active = false WHERE model = 'one'"):
        with pytest.raises(IntegrityError), database.write() as tx:
            tx.run(text(f"UPDATE catalogue SET {change}"))
    assert defaults(database) == [("cheap", "one")]


def test_many_set_default_at_once(database: Database, others: list[Database]) -> None:
    """Whoever comes last is the default; nobody fails, and there is one."""
    fill(database, *(model(f"m{n}") for n in range(len(others))))

    def choose(number: int) -> None:
        for _ in range(10):
            with others[number].write() as tx:
                catalogue.lock(tx)
                catalogue.save(tx, made_default(catalogue.get(tx, "acme", f"m{number}")))

    with ThreadPoolExecutor(len(others)) as threads:
        list(threads.map(choose, range(len(others))))
    assert len(defaults(database)) == 1


def test_many_setups_at_once(database: Database, others: list[Database]) -> None:
    """Each model is entered by one of them, and none fails."""

    def set_up(other: Database) -> int:
        with other.write() as tx:
            return len(catalogue.set_up(tx, SHIPPED).added)

    with ThreadPoolExecutor(len(others)) as threads:
        added = list(threads.map(set_up, others))
    assert sorted(added) == [0, 0, 0, len(SHIPPED)]
    with database.read() as tx:
        assert {entry.key: entry for entry in catalogue.entries(tx)} == {
            entry.key: entry for entry in SHIPPED
        }


def test_reset_takes_the_shipped_values_again(database: Database) -> None:
    """What was changed, disabled, or is no default any more is as shipped; what is the owner's alone stays."""
    with database.write() as tx:
        catalogue.set_up(tx, SHIPPED)
        catalogue.save(tx, replace(SHIPPED[0], is_active=False, is_default=False, quality=0.1))
        catalogue.add(tx, model("ours", is_default=True))
    with database.write() as tx:
        kept = catalogue.set_up(tx, SHIPPED)
        assert catalogue.find(tx, *SHIPPED[0].key) == kept.different[0].entry
        catalogue.set_up(tx, SHIPPED, reset=True)
        assert {entry.key: entry for entry in catalogue.entries(tx)} == {
            **{entry.key: entry for entry in SHIPPED},
            ("acme", "ours"): model("ours"),
        }
