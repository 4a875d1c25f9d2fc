"""Marking: says of answers that they are good, or takes that back; of all that are named, or of none."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from batchmill.errors import InvalidLinesError, NotFoundError
from batchmill.requests.model import LineError, RequestState, told_bad
from batchmill.training.orders import Order
from db import marks
from db.engine import Database
from db.marks import Line, Marking
from workers.naming import batch_named

ANSWERS_A_STEP = 1_000
_WHY = {
    RequestState.DONE: "its answer is no longer kept",
    RequestState.FAILED: "it failed: there is no answer to mark",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What came of it.

    Attributes:
        named: Answers that were named.
        changed: Those of them whose mark is another one now.
    """

    named: int
    changed: int


def mark(
    database: Database,
    orders: Iterable[Order | LineError],
    *,
    marked_by: str,
    is_removal: bool = False,
    on_bad_line: Callable[[LineError], None],
) -> Marked:
    """Mark answers, or take their marks off; nothing is written before every line has been looked at.

    They are written in short transactions: should the command be killed meanwhile, running it again does the rest.

    Args:
        on_bad_line: Is told of each line that cannot be followed.

    Raises:
        InvalidLinesError: There are such lines. Nothing was marked.
    """
    read: list[Order] = []
    bad: list[LineError] = []
    for order in orders:
        (bad if isinstance(order, LineError) else read).append(order)  # type: ignore[arg-type]
    markings = _resolved(database, read, bad, is_removal=is_removal)
    for line in sorted(bad, key=lambda error: error.line or 0):
        on_bad_line(line)
    if bad:
        raise InvalidLinesError(
            f"{told_bad([line.line for line in bad])} no mark; nothing was marked",
            "correct it, then run it again",
        )
    changed = 0
    for at in range(0, len(markings), ANSWERS_A_STEP):
        changed += _write(database, markings[at : at + ANSWERS_A_STEP], marked_by, is_removal=is_removal)
    return Marked(named=len(markings), changed=changed)


def _write(database: Database, step: Sequence[Marking], marked_by: str, *, is_removal: bool) -> int:
    if is_removal:
        return database.persist(lambda tx: marks.remove(tx, step))
    return database.persist(lambda tx: marks.put(tx, step, marked_by))


def _resolved(
    database: Database, orders: Sequence[Order], bad: list[LineError], *, is_removal: bool
) -> list[Marking]:
    """The answers that are meant; what cannot be found is added to `bad`."""
    by_batch: dict[str, list[Order]] = defaultdict(list)
    for order in orders:
        by_batch[order.batch].append(order)
    found: dict[int, tuple[Order, Marking]] = {}
    for name, several in by_batch.items():
        try:
            batch = batch_named(database, name).id
        except NotFoundError as error:
            bad += [_bad(order, error.message) for order in several]
            continue
        lines = marks.lines_named(database, batch, {order.custom_id for order in several})
        for order in several:
            line = lines.get(order.custom_id)
            if line is None:
                bad.append(_bad(order, f'batch {name} has no line "{order.custom_id}"'))
            elif (why := _unfit(order, line, is_removal=is_removal)) or line.answer_id is None:
                bad.append(_bad(order, f'line "{order.custom_id}" of batch {name}: {why}'))
            elif line.answer_id in found:
                first = found[line.answer_id][0]
                bad.append(
                    _bad(order, f'the answer of "{order.custom_id}" is named on line {first.line} already')
                )
            else:
                marking = Marking(request_id=line.request_id, answer_id=line.answer_id, mark=order.mark)
                found[line.answer_id] = order, marking
    return [marking for _, marking in found.values()]


def _unfit(order: Order, line: Line, *, is_removal: bool) -> str:
    if line.answer_id is None:
        return _WHY.get(line.state, f"it is {line.state}: there is no answer to mark")
    if order.mark.says_nothing and not is_removal:
        return "nothing is said of it: neither rating nor verified nor tags"
    return ""


def _bad(order: Order, message: str) -> LineError:
    return LineError(line=order.line or None, code="invalid_mark", message=message)
