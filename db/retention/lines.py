"""Lines that go: each with its input, its path, its calls and what we ourselves said of it; its answers may stay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, delete, insert, select, update

from batchmill.requests.model import AttemptState
from db.budgets.holds import periods_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.requests import span
from db.tables import answers, attempts, budget_periods, inputs, marks, orphans, paths, requests

_page = (
    select(requests.c.id)
    .where(requests.c.id > bindparam("after"), requests.c.id <= bindparam("last"))
    .order_by(requests.c.id)
    .limit(bindparam("most"))
)
_lock = Prepared(
    select(requests.c.id).where(among(requests.c.id, "ids")).order_by(requests.c.id).with_for_update()
)
_marked_by_it = and_(marks.c.answer_id == requests.c.answer_id, marks.c.request_id == requests.c.id)
_marked = Prepared(select(requests.c.id).join(marks, _marked_by_it).where(among(requests.c.id, "ids")))
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


def page(tx: Transaction, batch: int, *, after: int, most: int) -> list[int]:
    """The lines that are left of a batch, up to so many from behind that one on; 0 = from the first."""
    first, last = span(batch)
    return [row.id for row in tx.rows(_page, after=max(after, first - 1), last=last, most=most)]


def remove(tx: Transaction, ids: Sequence[int]) -> Gone:
    """Remove lines of batches that are marked as removed, but those that somebody has marked for training.

    Who marks an answer holds its line meanwhile (`db.marks`); so lines are locked before marks are looked for.

    What providers answered becomes orphaned: an entry of the cache or another's line may point to it. To our own words
    nobody else ever does. What the calls came to stays on the budgets that they were held on.

    Raises:
        RuntimeError: One of their calls is still open: a bug. Nothing is removed.
    """
    tx.rows(_lock, ids=list(ids))
    stay = {row.id for row in tx.rows(_marked, ids=list(ids))}
    lines = [id_ for id_ in ids if id_ not in stay]
    if not lines:
        return Gone()
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
