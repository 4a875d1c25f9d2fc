"""Rolling up: entries of the ledger added to daily rows, by what and whom they are of; nothing of their sums is lost.

A request goes as a whole: only then can different requests still be counted. All its entries are at hand when its batch
has ended well before the end of the day that is rolled up, and no call of it is unknown; but for the entry of a late
correction, for which the others wait. Requests are taken some hundred thousand entries at a time, by their numbers, so
memory does not grow with the day.

Requests that are in the same daily rows are a *cohort*. Most are in one row. Those that two models were asked for, or
that were tried again after midnight, are in two: `requests` says how many they are in each, and whoever adds the rows
up counts a cohort once (`db.usage`).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial
from typing import Any

import orjson
from sqlalchemy import and_, bindparam, case, delete, exists, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.periods import Day, date_of, days_between, start_of
from batchmill.requests.judge import NOT_KNOWN
from db.books import IS_UNKNOWN, SINGLE_REQUESTS, TOKENS, cost_together
from db.bulk import INT, ROW, STR, Bulk, rows_of
from db.engine import Database, Transaction
from db.ledger import CALL, CORRECTION, HIT
from db.prepared import Prepared, among
from db.retention.doomed import forget_single
from db.retention.steps import Steps
from db.tables import batches, ledger, ledger_days

ENTRIES_IN_HAND = 100_000
ENTRIES_A_LOOK = 10_000
ENTRIES_A_STEP = 1_000
CHUNK_BITS = 12
"""Neighbours in the ledger stay together, so that a step touches few of its pages."""

WELL_BEFORE_MS = 3_600_000
"""An entry bears the time at which its transaction began, and its batch the one at which another did."""

_WHAT = ("request_type", "endpoint", "tenant", "user_id", "agent", "provider", "model", "selection_mode")
_SUMS = ("calls", "failed", "hits", "corrections", "unpriced", *TOKENS, "latency_ms")
_place_columns = {"day": STR, "at_ms": INT, "batch_id": INT, "job_name": STR, **dict.fromkeys(_WHAT, STR)}
_columns = {
    "key": STR,
    "cohort": INT,
    **_place_columns,
    **dict.fromkeys(("requests", *_SUMS, "cost_nanos"), INT),
}


def _or_add(insert: Any) -> Any:
    sums = {name: ledger_days.c[name] + insert.excluded[name] for name in ("requests", *_SUMS)}
    sums["cost_nanos"] = cost_together(ledger_days.c.cost_nanos, insert.excluded.cost_nanos)
    return insert.on_conflict_do_update(index_elements=["key"], set_=sums)


_add = Bulk(
    _columns,
    set_wise=_or_add(
        postgresql.insert(ledger_days).from_select(
            list(_columns), select(*rows_of("postgresql", _columns).c).order_by("key")
        )
    ),
    row_wise=_or_add(
        sqlite.insert(ledger_days).values({name: bindparam(f"{ROW}{name}") for name in _columns})
    ),
)
_take = Prepared(
    delete(ledger)
    .where(among(ledger.c.id, "ids"))
    .returning(
        ledger.c.at_ms,
        ledger.c.kind,
        ledger.c.batch_id,
        ledger.c.request_id,
        *(ledger.c[name] for name in (*_WHAT, *TOKENS)),
        ledger.c.cost_nanos,
        ledger.c.cost_reason,
        ledger.c.latency_ms,
        ledger.c.success,
    )
)
_its_batches = Prepared(
    select(batches.c.id, batches.c.is_direct, batches.c.job_name).where(among(batches.c.id, "ids"))
)
_mark = Prepared(
    update(batches)
    .where(among(batches.c.id, "ids"), batches.c.rolled_ms.is_(None))
    .values(rolled_ms=bindparam("at_ms", type_=INT))
)
_is_over = and_(batches.c.ended_ms <= bindparam("ended_ms"), batches.c.unknown_attempts == 0)
# Of each entry by itself whether it may go: they are read in their order, up to the first.
_first = (
    select(ledger.c.at_ms)
    .where(
        ledger.c.at_ms >= bindparam("since_ms"),
        ledger.c.at_ms < bindparam("end_ms"),
        exists(select(1).where(batches.c.id == ledger.c.batch_id, _is_over)).correlate(ledger),
    )
    .order_by(ledger.c.at_ms)
    .limit(1)
)
_entries = (
    select(
        ledger.c.at_ms,
        ledger.c.id,
        ledger.c.request_id,
        case((and_(ledger.c.kind == CALL, IS_UNKNOWN), 1), else_=0).label("is_unknown"),
        case((ledger.c.kind == CORRECTION, 1), else_=0).label("is_correction"),
        batches.c.id.is_not(None).label("is_meant"),
    )
    .join_from(
        ledger,
        batches,
        and_(
            batches.c.id == ledger.c.batch_id,
            _is_over,
            (ledger.c.request_id // (1 << CHUNK_BITS)) % bindparam("parts", type_=INT) == bindparam("part"),
        ),
        isouter=True,
    )
    .where(
        ledger.c.at_ms < bindparam("end_ms"),
        tuple_(ledger.c.at_ms, ledger.c.id) > tuple_(bindparam("after_ms"), bindparam("after")),
    )
    .order_by(ledger.c.at_ms, ledger.c.id)
    .limit(ENTRIES_A_LOOK)
)


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What was rolled up."""

    entries: int = 0
    requests: int = 0

    def __add__(self, other: "RolledUp") -> "RolledUp":
        return RolledUp(self.entries + other.entries, self.requests + other.requests)


def roll_up(
    database: Database, *, before_ms: int, zone: tzinfo, check: Callable[[], None] = lambda: None
) -> RolledUp:
    """Roll up the days that had ended by then, the oldest first.

    Args:
        zone: Whose days.
        check: Called between steps; what it raises ends the work there.
    """
    steps, rolled = Steps(database, check), RolledUp()
    for end_ms in _ends(database, start_of(date_of(before_ms, zone), zone), zone):
        for ids in _requests(database, end_ms, check):
            rolled += steps.take(partial(_roll, ids=ids, calendar=Calendar(zone)))
    return rolled


def _ends(database: Database, last_ms: int, zone: tzinfo) -> Iterator[int]:
    """The ends of the days in which there are entries that may go, up to the last one that is meant, and that one: what
    a day leaves over is looked at again with each later one."""
    end_ms = 0
    while True:
        with database.read() as tx:
            first = tx.rows(_first, since_ms=end_ms, end_ms=last_ms, ended_ms=last_ms - WELL_BEFORE_MS)
        if not first:
            break
        end_ms = next(days_between(first[0].at_ms, first[0].at_ms + 1, zone)).end_ms
        yield end_ms
    if end_ms < last_ms:
        yield last_ms


def _requests(database: Database, end_ms: int, check: Callable[[], None]) -> Iterator[list[int]]:
    """The entries of requests that are over and have all of their entries before then; some requests at a time."""
    with database.read() as tx:
        count = tx.rows(select(func.count()).where(ledger.c.at_ms < end_ms))[0][0]
    parts = -(-count // ENTRIES_IN_HAND)
    for part in range(parts):
        in_hand = _Hand()
        for row in _look(database, end_ms, part, parts, check):
            in_hand.take(row)
        yield from in_hand.steps()


def _look(database: Database, end_ms: int, part: int, parts: int, check: Callable[[], None]) -> Iterator[Any]:
    after_ms = after = -1
    values = {"end_ms": end_ms, "ended_ms": end_ms - WELL_BEFORE_MS, "part": part, "parts": parts}
    while True:
        check()
        with database.read() as tx:
            page = tx.rows(_entries, after_ms=after_ms, after=after, **values)
        yield from (row for row in page if row.is_meant)
        if len(page) < ENTRIES_A_LOOK:
            return
        after_ms, after = page[-1].at_ms, page[-1].id


@dataclass(slots=True)
class _Hand:
    """Entries by request, and of each how many unknown calls have not been corrected."""

    entries: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    uncorrected: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def take(self, row: Any) -> None:
        """Take one in hand."""
        self.entries[row.request_id].append(row.id)
        if row.is_unknown or row.is_correction:
            self.uncorrected[row.request_id] += row.is_unknown - row.is_correction

    def steps(self) -> Iterator[list[int]]:
        """The entries of whole requests, about so many at a time as a step takes."""
        step: list[int] = []
        for request in sorted(self.entries):
            if self.uncorrected.get(request, 0):
                continue
            step += self.entries[request]
            if len(step) >= ENTRIES_A_STEP:
                yield step
                step = []
        if step:
            yield step


@dataclass(slots=True)
class Calendar:
    """The days of a zone, of which the last one asked for is remembered."""

    zone: tzinfo
    day: Day | None = None

    def day_of(self, at_ms: int) -> Day:
        """The day that a moment is in."""
        if self.day is None or not self.day.start_ms <= at_ms < self.day.end_ms:
            self.day = next(days_between(at_ms, at_ms + 1, self.zone))
        return self.day


Place = tuple[Any, ...]
"""The columns that say where an entry belongs."""


def _roll(tx: Transaction, *, ids: list[int], calendar: Calendar) -> RolledUp:
    """Add these entries to their daily rows. Of two at it at once only who deletes an entry has it to add."""
    entries = tx.rows(_take, ids=ids)
    known = {row.id: row for row in tx.rows(_its_batches, ids=sorted({row.batch_id for row in entries}))}
    requests: dict[int, dict[Place, dict[str, Any]]] = defaultdict(dict)
    for entry in entries:
        batch = known[entry.batch_id]
        places = requests[entry.request_id]
        _add_entry(places.setdefault(_place(entry, batch, calendar), _nothing()), entry)
    table: dict[str, dict[str, Any]] = {}
    for places in requests.values():
        cohort = _cohort(places)
        for place, sums in places.items():
            _add_sums(table, place, cohort, sums)
    tx.bulk(_add, [table[key] for key in sorted(table)])
    tx.run(_mark, ids=sorted(known), at_ms=tx.now_ms)
    forget_single(tx, [id_ for id_, row in known.items() if row.is_direct])
    return RolledUp(len(entries), len(requests))


def _place(entry: Any, batch: Any, calendar: Calendar) -> Place:
    day = calendar.day_of(entry.at_ms)
    batch_id = SINGLE_REQUESTS if batch.is_direct else entry.batch_id
    middle_ms = (day.start_ms + day.end_ms) // 2
    return (day.name, middle_ms, batch_id, batch.job_name, *(getattr(entry, name) for name in _WHAT))


def _nothing() -> dict[str, Any]:
    return dict.fromkeys(_SUMS, 0) | {"cost_nanos": None}


def _add_entry(sums: dict[str, Any], entry: Any) -> None:
    is_call = entry.kind == CALL
    sums["calls"] += is_call
    sums["failed"] += is_call and not entry.success
    sums["hits"] += entry.kind == HIT
    sums["corrections"] += entry.kind == CORRECTION
    sums["unpriced"] += entry.cost_nanos is None and entry.cost_reason != NOT_KNOWN.reason
    for name in ("latency_ms", *TOKENS):
        sums[name] += getattr(entry, name)
    if entry.cost_nanos is not None:
        sums["cost_nanos"] = (sums["cost_nanos"] or 0) + entry.cost_nanos


def _cohort(places: Mapping[Place, Any]) -> int:
    """A number for the set of rows that a request is in."""
    digest = _digest(sorted(places), size=8)
    return int.from_bytes(digest) >> 1


def _add_sums(table: dict[str, dict[str, Any]], place: Place, cohort: int, sums: Mapping[str, Any]) -> None:
    key = _digest([cohort, *place], size=16).hex()
    row = table.get(key)
    if row is None:
        named = dict(zip(_place_columns, place, strict=True))
        row = table[key] = {"key": key, "cohort": cohort, **named, "requests": 0, **_nothing()}
    row["requests"] += 1
    for name in _SUMS:
        row[name] += sums[name]
    if sums["cost_nanos"] is not None:
        row["cost_nanos"] = (row["cost_nanos"] or 0) + sums["cost_nanos"]


def _digest(of: Sequence[Any], *, size: int) -> bytes:
    return hashlib.blake2b(orjson.dumps(of), digest_size=size).digest()
