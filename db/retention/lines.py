"""Lines that go: each with its input, its path, its calls and what we ourselves said of it; its answers may stay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from batchmill.requests.model import AttemptState
from db.budgets.holds import periods_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.requests import span
from db.tables import answers, attempts, budget_periods, inputs, orphans, paths, requests

_page = (
    select(requests.c.id)
    .where(requests.c.id.between(bindparam("first"), bindparam("last")))
    .order_by(requests.c.id)
    .limit(bindparam("most"))
)
_calls = Prepared(
    delete(attempts)
    .where(among(attempts.c.request_id, "ids"))
    .returning(
        attempts.c.id,
        attempts.c.state,
        attempts.c.cost_nanos,
        attempts.c.hold_nanos,
        attempts.c.held_on,
    )
)
_others = [
    Prepared(delete(paths).where(among(paths.c.request_id, "ids"))),
    Prepared(delete(inputs).where(among(inputs.c.request_id, "ids"))),
]
_lines = Prepared(delete(requests).where(among(requests.c.id, "ids")))
_own_words = Prepared(delete(answers).where(among(answers.c.id, "ids")))
_orphaned = Prepared(
    insert(orphans).from_select(["answer_id"], select(answers.c.id).where(among(answers.c.id, "ids")))
)


@dataclass(frozen=True, slots=True)
class Gone:
    """What went with some lines."""

    lines: int = 0
    calls: int = 0

    def __add__(self, other: "Gone") -> "Gone":
        return Gone(self.lines + other.lines, self.calls + other.calls)


def page(tx: Transaction, batch: int, most: int) -> list[int]:
    """The first lines that are left of a batch, up to so many."""
    first, last = span(batch)
    return [row.id for row in tx.rows(_page, first=first, last=last, most=most)]


def remove(tx: Transaction, ids: Sequence[int]) -> Gone:
    """Remove lines of batches that are marked as removed.

    What providers answered becomes orphaned: an entry of the cache or another's line may point to it. To our own words
    nobody else ever does. What the calls came to stays on the budgets that they were held on.

    Raises:
        RuntimeError: One of their calls is still open: a bug. Nothing is removed.
    """
    lines = list(ids)
    calls = tx.rows(_calls, ids=lines)
    if any(call.state != AttemptState.SETTLED for call in calls):
        raise RuntimeError("a call of a batch that was to be removed is still open; nothing was removed")
    for others in _others:
        tx.run(others, ids=lines)
    gone = tx.run(_lines, ids=lines)
    tx.run(_own_words, ids=[-id_ for id_ in (*lines, *(call.id for call in calls))])
    tx.run(_orphaned, ids=[call.id for call in calls])
    _keep_sums(tx, calls)
    return Gone(gone, len(calls))


def _keep_sums(tx: Transaction, calls: Sequence[Any]) -> None:
    """Note on every period of a budget what the calls came to that were held on it; these rows are locked last, in the
    order of their numbers, as workers lock them."""
    costs: Counter[int] = Counter()
    overruns: Counter[int] = Counter()
    for call in calls:
        cost_nanos = call.hold_nanos if call.cost_nanos is None else call.cost_nanos
        for period in periods_of(call.held_on):
            costs[period] += cost_nanos
            overruns[period] += max(0, cost_nanos - call.hold_nanos)
    columns = budget_periods.c
    for period in sorted(costs):
        tx.run(
            update(budget_periods)
            .where(columns.id == period)
            .values(
                removed_nanos=columns.removed_nanos + costs[period],
                removed_overrun_nanos=columns.removed_overrun_nanos + overruns[period],
            )
        )
