"""Checks of providers: what each has shown, and how each is now."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy import Row as SqlRow

from batchmill.providers.health import Check, Health
from db.engine import Transaction
from db.tables import provider_checks

KEPT = 1_000
"""Checks of a provider that are kept, the newest; two older ones as well, see `record`."""

_row = provider_checks.c


def record(tx: Transaction, check: Check) -> None:
    """Enter a check, as of now, and drop the provider's oldest.

    Of the address checked, two stay however old they are: the last that showed otherwise and the first after it. So
    it is known since when a provider is as it is, also when that is longer than the history.
    """
    tx.run(
        insert(provider_checks).values(
            provider=check.provider,
            upstream=check.upstream,
            at_ms=tx.now_ms,
            ok=check.is_ok,
            latency_ms=check.latency_ms,
            error_code=check.error_code,
            error_message=check.error_message,
        )
    )
    _trim(tx, check)


def health(tx: Transaction, upstreams: Mapping[str, str]) -> dict[str, Health]:
    """How providers are, by name; those that were never looked at are left out.

    Args:
        upstreams: The address in force of each provider wanted.
    """
    found = {provider: _health(tx, provider, upstream) for provider, upstream in upstreams.items()}
    return {provider: one for provider, one in found.items() if one is not None}


def _health(tx: Transaction, provider: str, upstream: str) -> Health | None:
    here = _at(provider, upstream)
    newest = tx.rows(select(provider_checks).where(here).order_by(_row.id.desc()).limit(1))
    if not newest:
        return None
    last = newest[0]
    otherwise = _last_otherwise(here, is_ok=last.ok)
    since = tx.rows(select(func.min(_row.at_ms).label("ms")).where(here, _row.id > otherwise))[0].ms
    last_ok = tx.rows(select(func.max(_row.at_ms).label("ms")).where(here, _row.ok))[0].ms
    return Health(last=_check(last), at_ms=last.at_ms, since_ms=since, last_ok_ms=last_ok)


def _trim(tx: Transaction, check: Check) -> None:
    ours = _row.provider == check.provider
    here = _at(check.provider, check.upstream)
    newest = select(_row.id).where(ours).order_by(_row.id.desc()).limit(KEPT).subquery()
    otherwise = _last_otherwise(here, is_ok=check.is_ok)
    first = select(func.min(_row.id)).where(here, _row.id > otherwise).scalar_subquery()
    tx.run(
        delete(provider_checks).where(
            ours,
            _row.id < select(func.min(newest.c.id)).scalar_subquery(),
            _row.id != otherwise,
            _row.id != first,
        )
    )


def _last_otherwise(here: ColumnElement[bool], *, is_ok: bool) -> Any:
    """The id of the last check that did not show this; 0 when none did."""
    return select(func.coalesce(func.max(_row.id), 0)).where(here, _row.ok != is_ok).scalar_subquery()


def _at(provider: str, upstream: str) -> ColumnElement[bool]:
    return (_row.provider == provider) & (_row.upstream == upstream)


def _check(row: SqlRow[Any]) -> Check:
    return Check(
        provider=row.provider,
        upstream=row.upstream,
        latency_ms=row.latency_ms,
        error_code=row.error_code,
        error_message=row.error_message,
    )
