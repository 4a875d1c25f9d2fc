"""Usage as people ask for it: which entries of the ledger they mean, and how what these come to is shown."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from batchmill.errors import MisuseError, NotFoundError
from batchmill.money.nanos import usd_text
from batchmill.money.summary import Column, Group, Selection, Summary, Sums
from batchmill.periods import point_named
from db.engine import Database
from workers.naming import batch_named

TOTALS = ("requests", "calls", "hits", "unknown")
AMOUNTS = (*TOTALS, "unpriced", "input_tokens", "cached_tokens", "output_tokens")


def selected(
    database: Database,
    *,
    since: str | None,
    until: str | None,
    zone: tzinfo,
    only: Mapping[Column, str | None],
    named: Callable[[str], str] = str,
) -> Selection:
    """Which entries are meant.

    Args:
        since: As `batchmill.periods.point_ms` takes it; None = from the beginning.
        until: The same; None = to the end.
        only: None = any.
        named: What the asker calls `since` and `until`, for the errors.

    Raises:
        MisuseError: A point in time is none, or the period ends before it begins.
        NotFoundError: There is no such batch.
    """
    now_ms = database.now_ms()
    wanted = {column: value for column, value in only.items() if value is not None}
    if Column.BATCH in wanted:
        wanted[Column.BATCH] = _batch_meant(database, wanted[Column.BATCH])
    since_ms = point_named(named("since"), since, zone=zone, now_ms=now_ms)
    until_ms = point_named(named("until"), until, zone=zone, now_ms=now_ms)
    if since_ms is not None and until_ms is not None and since_ms > until_ms:
        raise MisuseError(
            f"{named('since')} {since} is later than {named('until')} {until}", "name the earlier one first"
        )
    return Selection(since_ms=since_ms, until_ms=until_ms, only=wanted)


def view(summary: Summary) -> dict[str, Any]:
    """A summary as JSON shows it: money is exact dollars as text."""
    total = {name: getattr(summary.total, name) for name in TOTALS}
    return {
        "rows": [group_view(group) for group in summary.groups],
        "total": total | {"cost_usd": usd_text(summary.total.cost_nanos)},
    }


def group_view(group: Group) -> dict[str, Any]:
    """A row of it."""
    names = {column.value: name for column, name in group.names.items()}
    return names | amounts(group.sums) | {"cost_usd": usd_text(group.sums.cost_nanos)}


def amounts(sums: Sums) -> dict[str, int]:
    """What is counted, by name."""
    return {name: getattr(sums, name) for name in AMOUNTS}


def _batch_meant(database: Database, name: str) -> str:
    """The whole id of a batch that is named as everywhere: by its first digits, or as `latest`."""
    try:
        public_id: str = batch_named(database, name).public_id
    except NotFoundError:
        if name.isdecimal():  # what a batch is called that is gone; its entries are not
            return name
        raise
    return public_id
