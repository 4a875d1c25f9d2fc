"""Circuits: which models of which providers are left alone for a while, as they do not answer; shared by all workers.

A circuit that has had no failure since it was last closed has no row, so that the table is mostly empty. Whoever
changes rows locks them first, in the order of their names.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Integer, and_, bindparam, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.providers.base import Verdict
from batchmill.requests.work import Outcome
from batchmill.routing.circuits import (
    DEFAULT_RULES,
    NEW,
    Cause,
    Circuit,
    CircuitRules,
    CircuitState,
    Event,
    Leave,
    after,
    closed_until_ms,
    event_of,
    may_call,
    probing,
)
from batchmill.routing.resting import open_until_ms
from db.bulk import INT, ROW, STR, Bulk, rows_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import circuits, word

Key = tuple[str, str]
"""Provider and model."""
_GUARDED_FROM_MS = 60_000
"""So long after it closed a circuit keeps its row: late replies of calls sent before must not count."""

MOST_CLOSED = 1_000
"""So many models may have failed without being left alone for it: beyond that their failures are counted anew."""
FORGOTTEN_AFTER_MS = 86_400_000
"""So long after its time is over a circuit is kept that nobody has asked for."""

_columns = {column.name: INT if isinstance(column.type, Integer) else STR for column in circuits.c}
_all = Prepared(select(circuits))
_lock = Prepared(
    select(circuits)
    .where(among(circuits.c.model, "models"))
    .order_by(circuits.c.provider, circuits.c.model)
    .with_for_update()
)
_delete = delete(circuits).where(
    circuits.c.provider == bindparam("of_provider"), circuits.c.model == bindparam("of_model")
)


def _or_replace(insert: Any) -> Any:
    changed = {name: insert.excluded[name] for name in _columns if name not in ("provider", "model")}
    return insert.on_conflict_do_update(index_elements=["provider", "model"], set_=changed)


def _make_statement(dialect: str) -> Any:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    making = insert(circuits).values({name: bindparam(name) for name in _columns})
    return making.on_conflict_do_nothing()


# For one row too: the reason is a provider's, and may hold what PostgreSQL's text cannot.
_put = Bulk(
    _columns,
    set_wise=_or_replace(
        postgresql.insert(circuits).from_select(list(_columns), select(*rows_of("postgresql", _columns).c))
    ),
    row_wise=_or_replace(
        sqlite.insert(circuits).values({name: bindparam(f"{ROW}{name}") for name in _columns})
    ),
)
_make = Prepared(_make_statement)


_is_closed = circuits.c.state == word(CircuitState.CLOSED)
_many_are_closed = select(func.count()).where(_is_closed).scalar_subquery() > bindparam("most")
_is_past = and_(
    ~_is_closed,
    circuits.c.open_until_ms < bindparam("before_ms"),
    circuits.c.probe_until_ms < bindparam("before_ms"),
)
_stale = (
    select(circuits.c.provider, circuits.c.model)
    .where(or_(and_(_is_closed, _many_are_closed), _is_past))
    .order_by(circuits.c.provider, circuits.c.model)
    .with_for_update(skip_locked=True)
)


def tidy(tx: Transaction) -> None:
    """Forget what is not worth being read by every commit: names of models come from producers, without end."""
    found = tx.rows(_stale, most=MOST_CLOSED, before_ms=tx.now_ms - FORGOTTEN_AFTER_MS)
    for row in found:
        tx.run(_delete, of_provider=row.provider, of_model=row.model)


def read(tx: Transaction) -> dict[Key, Circuit]:
    """Every circuit that is not as new."""
    return {(row.provider, row.model): _circuit_of(row) for row in tx.rows(_all)}


def resting(tx: Transaction) -> dict[Key, int]:
    """Until when each model is left alone that is."""
    return open_until_ms(read(tx), tx.now_ms)


class Panel:
    """The circuits as one transaction sees and changes them. Whatever it may change is locked when it is made.

    Args:
        ended: How calls ended, and when they were sent.
        asked: Whom calls are about to be made to.
        call_timeout_ms: The longest that a probe may be out.

    Attributes:
        circuits: Those that are not as new.
        changes: Which of them changed to which state, in order.
    """

    def __init__(
        self,
        tx: Transaction,
        *,
        ended: Sequence[tuple[Outcome, int]],
        asked: Collection[Key],
        call_timeout_ms: int,
        rules: CircuitRules = DEFAULT_RULES,
    ) -> None:
        self._tx = tx
        self._call_timeout_ms = call_timeout_ms
        self._rules = rules
        self.changes: list[tuple[Key, CircuitState]] = []
        self.circuits = read(tx)
        told: dict[Key, list[Event]] = defaultdict(list)
        for outcome, sent_ms in ended:
            attempt, reply = outcome.attempt, outcome.reply
            if not self.circuits and reply.verdict is Verdict.ANSWERED:
                continue  # nearly always
            told[attempt.target].append(event_of(reply, sent_ms=sent_ms, is_retry=attempt.nth_there > 1))
        self._lock(
            {key for key in told if self._may_change(key, told[key])} | set(filter(self._is_due, asked))
        )
        for key in self._locked & told.keys():
            self._note(key, told[key])

    def closed_until_ms(self, key: Key, *, is_lone: bool = False) -> int | None:
        """When to ask again for a call to a model; None = it may go out, once it is noted.

        Args:
            is_lone: There is nobody else to ask: see `batchmill.routing.circuits.closed_until_ms`.
        """
        circuit = self.circuits.get(key)
        return None if circuit is None else closed_until_ms(circuit, self._tx.now_ms, is_lone=is_lone)

    def note_sent(self, key: Key) -> None:
        """A call goes out to a model. After a circuit's time the first one is its probe."""
        if key in self._locked and self._is_due(key):
            probe = probing(self.circuits[key], self._tx.now_ms, call_timeout_ms=self._call_timeout_ms)
            self._write(key, probe)

    def _may_change(self, key: Key, events: Iterable[Event]) -> bool:
        circuit = self.circuits.get(key, NEW)
        return any(after(circuit, event, self._tx.now_ms, self._rules) != circuit for event in events)

    def _is_due(self, key: Key) -> bool:
        circuit = self.circuits.get(key)
        return circuit is not None and may_call(circuit, self._tx.now_ms).leave is Leave.PROBE

    def _lock(self, keys: set[Key]) -> None:
        """Lock these circuits until the transaction ends; those that have no row are made one."""
        self._locked = keys
        if not keys:
            return
        for provider, model in sorted(keys - self.circuits.keys()):
            self._tx.run(_make, **_row_of((provider, model), NEW))
        for row in self._tx.rows(_lock, models=sorted({model for _, model in keys})):
            self.circuits[row.provider, row.model] = _circuit_of(row)

    def _note(self, key: Key, events: Iterable[Event]) -> None:
        """Write what the ends of calls mean for their circuit."""
        before = circuit = self.circuits.get(key, NEW)
        for event in events:
            circuit = after(circuit, event, self._tx.now_ms, self._rules)
        if circuit != before:
            self._write(key, circuit)

    def _write(self, key: Key, circuit: Circuit) -> None:
        if circuit.state is not self.circuits.get(key, NEW).state:
            self.changes.append((key, circuit.state))
        self.circuits[key] = circuit
        is_as_new = circuit.state is CircuitState.CLOSED and not circuit.failures
        if is_as_new and circuit.counts_from_ms < self._tx.now_ms - _GUARDED_FROM_MS:
            self._tx.run(_delete, of_provider=key[0], of_model=key[1])
        else:
            self._tx.bulk(_put, [_row_of(key, circuit)])


def _circuit_of(row: Any) -> Circuit:
    return Circuit(
        state=CircuitState(row.state),
        failures=row.failures,
        opened_times=row.opened_times,
        open_until_ms=row.open_until_ms,
        probe_until_ms=row.probe_until_ms,
        counts_from_ms=row.counts_from_ms,
        cause=Cause(row.cause) if row.cause else None,
        reason=row.reason,
    )


def _row_of(key: Key, circuit: Circuit) -> Mapping[str, Any]:
    return {
        "provider": key[0],
        "model": key[1],
        "state": circuit.state,
        "failures": circuit.failures,
        "opened_times": circuit.opened_times,
        "open_until_ms": circuit.open_until_ms,
        "probe_until_ms": circuit.probe_until_ms,
        "counts_from_ms": circuit.counts_from_ms,
        "cause": circuit.cause,
        "reason": circuit.reason,
    }
