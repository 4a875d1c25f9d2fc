"""Marks: which answers are known to be good. An answer stays for as long as it is marked, and so does its question.

The rating and whether it is verified also stand on the entries of the cache that point to the answer, for the clean-up,
as far as they are found by the questions of the marked line and of the line whose call brought it; the mark itself is
the truth.

Locks are taken as clean-up takes them: entries, then answers. Who deletes answers locks them first and looks for marks
in a statement after that.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.requests.model import RequestState
from batchmill.training.marks import Mark
from batchmill.training.model import GOOD_RATING, MOST_RATING, Answered
from db.bulk import BOOL, INT, ROW, STR, Bulk, bulk_update, rows_of
from db.engine import Database, Transaction
from db.requests import PAGE, PAGE_BYTES, span
from db.tables import answers, attempts, batches, cache_entries, inputs, marks, requests

_RATINGS: Final = (*range(MOST_RATING, -1, -1), None)
"""The best first, those without one last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a batch and its answer.

    Attributes:
        answer_id: None where it has no answer that could be marked.
    """

    request_id: int
    state: RequestState
    answer_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marking:
    """A mark on its way to an answer."""

    request_id: int
    answer_id: int
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which marks are meant; None = any.

    Attributes:
        min_rating: Rated so or better. With `or_verified` also those that are verified, however rated.
        since_ms: Answered then or later; `until_ms`: before then.
        model: Who answered.
        request_type: The line's own, else its batch's.
        batch: The row number of the batch that the marked line is of.
    """

    min_rating: int | None = None
    verified_only: bool = False
    or_verified: bool = False
    tag: str | None = None
    request_type: str | None = None
    tenant: str | None = None
    model: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    batch: int | None = None

    @property
    def is_of_marks(self) -> bool:
        """Whether the marks alone tell which are meant."""
        others = (self.request_type, self.tenant, self.model, self.since_ms, self.until_ms)
        return all(value is None for value in others)

    @classmethod
    def good(cls, *, min_rating: int | None, verified_only: bool, **others: Any) -> "Filter":
        """What is worth training on: verified, or rated 4 or better, unless another bar is set."""
        bar = min_rating if min_rating is not None or verified_only else GOOD_RATING
        return cls(min_rating=bar, verified_only=verified_only, or_verified=not verified_only, **others)


ALL: Final = Filter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is marked.

    Attributes:
        newest_ms: When the last mark was set or changed; 0 = there is none.
        by_rating: How many; None stands for those that are not rated.
    """

    total: int
    verified: int
    newest_ms: int
    by_rating: Mapping[int | None, int]


_columns = {
    "answer_id": INT,
    "request_id": INT,
    "rating": INT,
    "verified": BOOL,
    "tags": STR,
    "marked_by": STR,
}
_at = bindparam("at_ms", type_=INT)


def _or_replace(insert: Any) -> Any:
    anew = {name: insert.excluded[name] for name in (*_columns, "marked_ms") if name != "answer_id"}
    return insert.on_conflict_do_update(index_elements=["answer_id"], set_=anew)


_given = rows_of("postgresql", _columns)
_put = Bulk(
    _columns,
    set_wise=_or_replace(
        postgresql.insert(marks).from_select(
            [*_columns, "marked_ms"], select(*_given.c, _at.label("marked_ms"))
        )
    ),
    row_wise=_or_replace(
        sqlite.insert(marks).values(
            {name: bindparam(f"{ROW}{name}") for name in _columns} | {"marked_ms": _at}
        )
    ),
)
_rate = bulk_update(
    {"cache_key": STR, "answer_id": INT, "rating": INT, "verified": BOOL},
    lambda row: (
        update(cache_entries)
        .where(cache_entries.c.cache_key == row["cache_key"], cache_entries.c.answer_id == row["answer_id"])
        .values(rating=row["rating"], verified=row["verified"])
    ),
)
_lines = (
    select(
        requests.c.id, inputs.c.custom_id, requests.c.state, requests.c.answer_id, answers.c.id.label("kept")
    )
    .join_from(requests, inputs, inputs.c.request_id == requests.c.id)
    .join(answers, answers.c.id == requests.c.answer_id, isouter=True)
    .where(requests.c.id > bindparam("after"), requests.c.id <= bindparam("last"))
    .order_by(requests.c.id)
    .limit(PAGE)
)


def lines_named(database: Database, batch: int, names: Collection[str]) -> dict[str, Line]:
    """The lines of a batch that have these names; read line by line, as there is no index of names."""
    first, last = span(batch)
    after, found, wanted = first - 1, dict[str, Line](), frozenset(names)
    while len(found) < len(wanted):
        with database.read() as tx:
            page = tx.rows(_lines, after=after, last=last)
        found |= {row.custom_id: _line(row) for row in page if row.custom_id in wanted}
        if len(page) < PAGE:
            break
        after = page[-1].id
    return found


def _line(row: Any) -> Line:
    state = RequestState(row.state)
    return Line(request_id=row.id, state=state, answer_id=row.kept if state is RequestState.DONE else None)


def put(tx: Transaction, markings: Sequence[Marking], marked_by: str) -> int:
    """Mark these answers, up to some thousand; how many that changed. What is gone meanwhile is passed over.

    Their lines are held until this transaction ends: whoever removes lines leaves those out that are marked.
    """
    keys = _lock(tx, [(one.answer_id, one.request_id) for one in markings])
    ids = [one.answer_id for one in markings]
    there = {row.id for row in tx.rows(select(answers.c.id).where(answers.c.id.in_(ids)))}
    lines = select(requests.c.id).where(requests.c.id.in_([one.request_id for one in markings]))
    held = {row.id for row in tx.rows(lines.order_by(requests.c.id).with_for_update(read=True))}
    before = {row.answer_id: row for row in tx.rows(select(marks).where(marks.c.answer_id.in_(ids)))}
    after = {
        one.answer_id: merged
        for one in markings
        if one.answer_id in there
        and one.request_id in held
        and (merged := _merged(before.get(one.answer_id), one)) != _as_is(before.get(one.answer_id))
    }
    tx.bulk(_put, [row | {"marked_by": marked_by} for row in after.values()], at_ms=tx.now_ms)
    _tell_entries(tx, keys, after)
    return len(after)


def remove(tx: Transaction, markings: Sequence[Marking]) -> int:
    """Take the marks off these answers, up to some thousand; how many had one."""
    keys = _lock(tx, [(one.answer_id, one.request_id) for one in markings])
    ids = [one.answer_id for one in markings]
    removed = tx.run(delete(marks).where(marks.c.answer_id.in_(ids)))
    _tell_entries(tx, keys, {id_: {"rating": None, "verified": False} for id_ in ids})
    return removed


def marked(tx: Transaction, ids: Sequence[int]) -> frozenset[int]:
    """Those of these answers that are marked, and therefore must stay."""
    return frozenset(
        row.answer_id for row in tx.rows(select(marks.c.answer_id).where(marks.c.answer_id.in_(ids)))
    )


def _lock(tx: Transaction, pairs: Sequence[tuple[int, int]]) -> list[tuple[str, int]]:
    """Lock the entries that stand for these answers, then the answers; the entries' keys, each with its answer."""
    wanted = {answer: {request} for answer, request in pairs}
    for row in tx.rows(select(attempts.c.id, attempts.c.request_id).where(attempts.c.id.in_(wanted))):
        wanted[row.id].add(row.request_id)
    asked = {request for several in wanted.values() for request in several}
    known = tx.rows(select(requests.c.id, requests.c.cache_key).where(requests.c.id.in_(asked)))
    key_of = {row.id: row.cache_key for row in known if row.cache_key}
    keys = sorted(
        {
            (key_of[request], answer)
            for answer, several in wanted.items()
            for request in several
            if request in key_of
        }
    )
    entries = select(cache_entries.c.cache_key).where(cache_entries.c.cache_key.in_([key for key, _ in keys]))
    tx.rows(entries.order_by(cache_entries.c.cache_key).with_for_update())
    tx.rows(select(answers.c.id).where(answers.c.id.in_(wanted)).order_by(answers.c.id).with_for_update())
    return keys


def _tell_entries(
    tx: Transaction, keys: Sequence[tuple[str, int]], after: Mapping[int, Mapping[str, Any]]
) -> None:
    table = [
        {
            "cache_key": key,
            "answer_id": answer,
            "rating": after[answer]["rating"],
            "verified": after[answer]["verified"],
        }
        for key, answer in keys
        if answer in after
    ]
    tx.bulk(_rate, table)


def _merged(before: Any | None, one: Marking) -> dict[str, Any]:
    """The row of a mark, once more has been said."""
    mark, was = one.mark, _as_is(before) or {"rating": None, "verified": False, "tags": ""}
    return {
        "answer_id": one.answer_id,
        "request_id": one.request_id,
        "rating": was["rating"] if mark.rating is None else mark.rating,
        "verified": was["verified"] if mark.verified is None else mark.verified,
        "tags": was["tags"] if mark.tags is None else _joined(mark.tags),
    }


def _as_is(row: Any | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {name: getattr(row, name) for name in _columns if name != "marked_by"}


def _joined(tags: Sequence[str]) -> str:
    return f",{','.join(tags)}," if tags else ""


def tags_of(row: Any) -> list[str]:
    """The tags of a mark's row."""
    return [tag for tag in row.tags.split(",") if tag]


def _matches(wanted: Filter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [marks.c.answer_id.is_not(None)]
    if wanted.min_rating is not None:
        rated = marks.c.rating >= wanted.min_rating
        conditions.append(or_(rated, marks.c.verified) if wanted.or_verified else rated)
    if wanted.verified_only:
        conditions.append(marks.c.verified)
    if wanted.tag is not None:
        conditions.append(marks.c.tags.contains(f",{wanted.tag},", autoescape=True))
    if wanted.request_type is not None:
        own = func.coalesce(func.nullif(requests.c.request_type, ""), batches.c.request_type)
        conditions.append(own == wanted.request_type)
    if wanted.tenant is not None:
        conditions.append(batches.c.tenant == wanted.tenant)
    if wanted.model is not None:
        conditions.append(answers.c.model == wanted.model)
    if wanted.since_ms is not None:
        conditions.append(answers.c.created_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        conditions.append(answers.c.created_ms < wanted.until_ms)
    if wanted.batch is not None:
        conditions.append(marks.c.request_id.between(*span(wanted.batch)))
    return and_(*conditions)


def _joined_rows(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Marks beside what they are of; None where that is gone."""
    return (
        select(*columns)
        .join_from(marks, requests, requests.c.id == marks.c.request_id, isouter=True)
        .join(batches, batches.c.id == requests.c.batch_id, isouter=True)
        .join(inputs, inputs.c.request_id == marks.c.request_id, isouter=True)
        .join(answers, answers.c.id == marks.c.answer_id, isouter=True)
    )


def answered(database: Database, wanted: Filter) -> Iterator[Answered]:
    """Marked answers with their questions, the best first: verified, then by rating, then as they were answered.

    A page at a time: no long read, flat memory. What is marked meanwhile may be in it or not.
    """
    columns = (
        marks.c.answer_id,
        marks.c.rating,
        marks.c.verified,
        batches.c.endpoint,
        inputs.c.body.label("question"),
        answers.c.body.label("answer"),
        answers.c.finish_reason,
    )
    for verified in (True, False):
        for rating in _RATINGS:
            if not _is_worth_a_look(wanted, verified=verified, rating=rating):
                continue
            of_class = and_(
                marks.c.verified == verified,
                marks.c.rating.is_(None) if rating is None else marks.c.rating == rating,
                _matches(wanted),
            )
            yield from _class(database, _joined_rows(*columns).where(of_class))


def _is_worth_a_look(wanted: Filter, *, verified: bool, rating: int | None) -> bool:
    if wanted.verified_only and not verified:
        return False
    is_rated = wanted.min_rating is None or (rating is not None and rating >= wanted.min_rating)
    return is_rated or (verified and wanted.or_verified)


def _class(database: Database, query: Select[*tuple[Any, ...]]) -> Iterator[Answered]:
    after, most = 0, PAGE // 10
    while True:
        page_of = query.where(marks.c.answer_id > after).order_by(marks.c.answer_id).limit(most)
        with database.read() as tx:
            page = tx.rows(page_of)
        yield from map(_answered, page)
        if len(page) < most:
            return
        after, size = page[-1].answer_id, sum(len(row.answer or "") + len(row.question or "") for row in page)
        most = min(PAGE, 2 * most, max(1, len(page) * PAGE_BYTES // max(1, size)))


def _answered(row: Any) -> Answered:
    return Answered(
        answer_id=row.answer_id,
        endpoint=row.endpoint or "",
        question=row.question,
        answer=row.answer,
        finish_reason=row.finish_reason or "",
        rating=row.rating,
        verified=row.verified,
    )


def standing(tx: Transaction, wanted: Filter = ALL) -> Standing:
    """What is marked, in numbers."""
    of = _alone if wanted.is_of_marks else _joined_rows
    query = of(
        marks.c.rating,
        func.count().label("times"),
        func.count(case((marks.c.verified, 1))).label("verified"),
        func.max(marks.c.marked_ms).label("newest_ms"),
    )
    found = tx.rows(query.where(_matches(wanted)).group_by(marks.c.rating))
    return Standing(
        total=sum(row.times for row in found),
        verified=sum(row.verified for row in found),
        newest_ms=max((row.newest_ms for row in found), default=0),
        by_rating={row.rating: row.times for row in found},
    )


def _alone(*columns: Any) -> Select[*tuple[Any, ...]]:
    return select(*columns).select_from(marks)


def listed(tx: Transaction, wanted: Filter, *, most: int) -> Sequence[Any]:
    """Marks, the last marked first."""
    query = _joined_rows(
        *marks.c,
        batches.c.public_id,
        inputs.c.custom_id,
        answers.c.model,
        answers.c.provider,
        func.coalesce(func.nullif(requests.c.request_type, ""), batches.c.request_type).label("type"),
        batches.c.tenant,
    )
    newest_first = (marks.c.marked_ms.desc(), marks.c.answer_id.desc())
    return tx.rows(query.where(_matches(wanted)).order_by(*newest_first).limit(most))
