"""The catalogue: the models the owner has, with prices, tiers and defaults.

It is read by everybody and written by one at a time: whoever writes calls `lock` first, so that what a command
has looked at still holds when it writes, and two defaults of one tier never meet.
"""

from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Row, case, delete, insert, or_, select, text, update

from batchmill.catalogue.entries import Capability, ModelEntry, Tier
from batchmill.catalogue.prices import PRICE_FIELDS, ModelPrices
from batchmill.catalogue.setup import SetupPlan, plan_setup
from batchmill.errors import ConflictError, NotFoundError
from batchmill.money.owner_prices import OwnerPrices
from batchmill.providers.names import ProviderName
from batchmill.routing.names import parse_target
from db.engine import Transaction
from db.tables import catalogue

_TIER_ORDER = case({tier.value: place for place, tier in enumerate(Tier)}, value=catalogue.c.tier)
_PRICE_COLUMNS = [catalogue.c[name] for name in PRICE_FIELDS]
_PLAIN = tuple(
    field.name
    for field in fields(ModelEntry)
    if field.name not in ("tier", "prices", "capabilities", "fallback")
)


def lock(tx: Transaction) -> None:
    """Keep everybody else from writing until this transaction ends; SQLite's transactions that write do so anyway."""
    if tx.dialect == "postgresql":
        tx.run(text("LOCK TABLE catalogue IN SHARE ROW EXCLUSIVE MODE"))


def entries(
    tx: Transaction, *, provider: str | None = None, tier: Tier | None = None, active_only: bool = False
) -> list[ModelEntry]:
    """The entries, by provider, then from cheap to premium, then by model."""
    wanted = select(catalogue).order_by(catalogue.c.provider, _TIER_ORDER, catalogue.c.model)
    if provider is not None:
        wanted = wanted.where(catalogue.c.provider == provider)
    if tier is not None:
        wanted = wanted.where(catalogue.c.tier == tier.value)
    if active_only:
        wanted = wanted.where(catalogue.c.is_active)
    return [_entry(row) for row in tx.rows(wanted)]


def find(tx: Transaction, provider: str, model: str) -> ModelEntry | None:
    """One entry."""
    found = tx.rows(select(catalogue).where(_named(provider, model)))
    return _entry(found[0]) if found else None


def get(tx: Transaction, provider: str, model: str) -> ModelEntry:
    """One entry, which has to be there.

    Raises:
        NotFoundError: It is not; the hint names those that are spelt alike.
    """
    found = find(tx, provider, model)
    if found is not None:
        return found
    name = f"{provider}/{model}"
    names = [
        f"{row.provider}/{row.model}" for row in tx.rows(select(catalogue.c.provider, catalogue.c.model))
    ]
    alike = get_close_matches(name, names, n=3)
    see = (
        "`batchmill providers list` shows what there is" if names else "`batchmill providers setup` fills it"
    )
    raise NotFoundError(
        f"the catalogue has no {name}", f"did you mean {' or '.join(alike)}?" if alike else see
    )


def default_of(tx: Transaction, tier: Tier) -> ModelEntry | None:
    """The entry that stands for a tier; None when none does."""
    found = tx.rows(select(catalogue).where(catalogue.c.tier == tier.value, catalogue.c.is_default))
    return _entry(found[0]) if found else None


def own_prices(tx: Transaction) -> OwnerPrices:
    """What the owner says models cost, of entries that are disabled too: what was called is to be paid."""
    priced = select(catalogue.c.provider, catalogue.c.model, *_PRICE_COLUMNS).where(
        or_(*(column.is_not(None) for column in _PRICE_COLUMNS))
    )
    return {
        (row.provider, row.model): ModelPrices(
            **{name: getattr(row, name) for name in PRICE_FIELDS}
        ).owner_price()
        for row in tx.rows(priced)
    }


def add(tx: Transaction, entry: ModelEntry) -> None:
    """Enter a new entry. One that is a default takes that over from its tier's.

    Raises:
        ConflictError: It is there already.
    """
    if find(tx, entry.provider, entry.model) is not None:
        raise ConflictError(
            f"the catalogue has {entry.name} already",
            f"change it with `batchmill providers edit {entry.name}`",
        )
    _make_room(tx, entry)
    tx.run(insert(catalogue).values(_values(entry) | {"updated_ms": tx.now_ms}))


def save(tx: Transaction, entry: ModelEntry) -> None:
    """Write an entry that is there anew. One that is a default takes that over from its tier's."""
    _make_room(tx, entry)
    tx.run(
        update(catalogue)
        .where(_named(entry.provider, entry.model))
        .values(_values(entry) | {"updated_ms": tx.now_ms})
    )


def remove(tx: Transaction, entry: ModelEntry) -> None:
    """Take an entry out."""
    tx.run(delete(catalogue).where(_named(entry.provider, entry.model)))


def set_up(tx: Transaction, shipped: Sequence[ModelEntry], *, reset: bool = False) -> SetupPlan:
    """Enter the shipped entries that are not there; with `reset` those that differ become as shipped, too."""
    lock(tx)
    plan = plan_setup(shipped, entries(tx))
    for entry in plan.added:
        add(tx, entry)
    for difference in plan.different if reset else ():
        save(tx, difference.shipped)
    return plan


def _make_room(tx: Transaction, entry: ModelEntry) -> None:
    if entry.is_default:
        tx.run(
            update(catalogue)
            .where(catalogue.c.tier == entry.tier.value, catalogue.c.is_default)
            .values(is_default=False, updated_ms=tx.now_ms)
        )


def _named(provider: str, model: str) -> Any:
    return (catalogue.c.provider == provider) & (catalogue.c.model == model)


def _values(entry: ModelEntry) -> dict[str, Any]:
    return {
        **{name: getattr(entry, name) for name in _PLAIN},
        **{name: getattr(entry.prices, name, None) for name in PRICE_FIELDS},
        "tier": entry.tier.value,
        "capabilities": ",".join(word for word in Capability if word in entry.capabilities),
        "fallback": ",".join(target.name for target in entry.fallback),
    }


def _entry(row: Row[Any]) -> ModelEntry:
    prices = {name: getattr(row, name) for name in PRICE_FIELDS}
    return ModelEntry(
        **{name: getattr(row, name) for name in _PLAIN},
        tier=Tier(row.tier),
        prices=None if set(prices.values()) == {None} else ModelPrices(**prices),
        capabilities=frozenset(map(Capability, row.capabilities.split(","))),
        fallback=tuple(
            parse_target(name, default_provider=ProviderName.OPENAI)
            for name in filter(None, row.fallback.split(","))
        ),
    )
