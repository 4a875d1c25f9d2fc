"""Limits: how much the owner lets go out to providers and their models."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.limits.owner import LIMIT_NAMES, OwnerLimits
from db.engine import Transaction
from db.tables import limits


def entries(tx: Transaction, *, provider: str | None = None, model: str | None = None) -> list[OwnerLimits]:
    """The limits that are set, by provider and model; those of a whole provider come before its models'.

    Args:
        model: Of this model only; "" for those of whole providers.
    """
    wanted = select(limits).order_by(limits.c.provider, limits.c.model)
    if provider is not None:
        wanted = wanted.where(limits.c.provider == provider)
    if model is not None:
        wanted = wanted.where(limits.c.model == model)
    return [
        OwnerLimits(
            provider=row.provider,
            model=row.model,
            **{name: getattr(row, name) for name in LIMIT_NAMES},
        )
        for row in tx.rows(wanted)
    ]


def merge(tx: Transaction, wanted: OwnerLimits) -> None:
    """Set limits; what is None stays as it is. Two at once that set different ones of a model both get theirs."""
    insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    values: Mapping[str, Any] = {name: getattr(wanted, name) for name in LIMIT_NAMES}
    setting = insert(limits).values(
        provider=wanted.provider, model=wanted.model, updated_ms=tx.now_ms, **values
    )
    anew = {name: func.coalesce(setting.excluded[name], limits.c[name]) for name in LIMIT_NAMES}
    tx.run(
        setting.on_conflict_do_update(
            index_elements=["provider", "model"],
            set_=anew | {"updated_ms": setting.excluded.updated_ms},
        )
    )


def remove(tx: Transaction, provider: str, model: str) -> bool:
    """Take the limits of a provider (model "") or of one of its models away; whether there were any."""
    named = (limits.c.provider == provider) & (limits.c.model == model)
    return tx.run(delete(limits).where(named)) > 0
