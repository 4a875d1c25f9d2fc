"""The result cache: which answer stands for which question, and until when."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, false, func, null, select, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.errors import DatabaseError
from batchmill.requests.work import Outcome
from db.bulk import BOOL, INT, ROW, STR, Bulk, bulk_update, rows_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import answers, cache_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An answer given before.

    Attributes:
        ok: Whether it is an answer, and not a lasting refusal of the request.
        created_ms: When its entry was made.
    """

    answer_id: int
    ok: bool
    provider: str
    model: str
    created_ms: int


_put_columns = {
    "cache_key": STR,
    "answer_id": INT,
    "tenant": STR,
    "request_type": STR,
    "created_ms": INT,
    "expires_ms": INT,
    "answer_bytes": INT,
    "cost_nanos": INT,
    "is_shared": BOOL,
}
_nothing_said = {"quality": null(), "rating": null(), "verified": false()}
"""What people said was of the answer before."""


def _or_replace(insert: Any) -> Any:
    anew = {name: insert.excluded[name] for name in _put_columns if name != "cache_key"}
    return insert.on_conflict_do_update(index_elements=["cache_key"], set_=anew | _nothing_said)


_put = Bulk(
    _put_columns,
    set_wise=_or_replace(
        postgresql.insert(cache_entries).from_select(
            list(_put_columns), select(*rows_of("postgresql", _put_columns).c)
        )
    ),
    row_wise=_or_replace(
        sqlite.insert(cache_entries).values({name: bindparam(f"{ROW}{name}") for name in _put_columns})
    ),
)
_use = bulk_update(
    {"cache_key": STR, "uses": INT, "answer_id": INT},
    lambda row: (
        update(cache_entries)
        .where(
            cache_entries.c.cache_key == row["cache_key"],
            cache_entries.c.answer_id == func.coalesce(row["answer_id"], cache_entries.c.answer_id),
        )
        .values(
            usage_count=cache_entries.c.usage_count + row["uses"], last_used_ms=bindparam("at_ms", type_=INT)
        )
    ),
)


_lock = Prepared(
    select(cache_entries.c.cache_key)
    .where(among(cache_entries.c.cache_key, "keys"))
    .order_by(cache_entries.c.cache_key)
    .with_for_update()
)


def _find_statement(dialect: str) -> Any:
    given = rows_of(dialect, {"cache_key": STR})
    return (
        select(
            cache_entries.c.cache_key,
            cache_entries.c.answer_id,
            cache_entries.c.created_ms,
            answers.c.status_code,
            answers.c.provider,
            answers.c.model,
        )
        .join_from(given, cache_entries, cache_entries.c.cache_key == given.c.cache_key)
        .join(answers, answers.c.id == cache_entries.c.answer_id)
        .where(cache_entries.c.expires_ms > bindparam("at_ms"))
    )


_find = Prepared(_find_statement)


def find(tx: Transaction, keys: Iterable[str]) -> dict[str, Hit]:
    """The answers that stand for these keys now, in one look-up."""
    table = [{"cache_key": key} for key in sorted(set(keys))]
    return {
        row.cache_key: Hit(
            answer_id=row.answer_id,
            ok=row.status_code is not None and row.status_code < 400,
            provider=row.provider,
            model=row.model,
            created_ms=row.created_ms,
        )
        for row in tx.bulk_rows(_find, table, at_ms=tx.now_ms)
    }


def put(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Let these answers stand for their keys; a newer answer takes the place of an older one."""
    table = {
        key: {
            "cache_key": key,
            "answer_id": outcome.attempt.id,
            "tenant": outcome.attempt.job.batch.tenant,
            "request_type": outcome.attempt.job.request_type,
            "created_ms": tx.now_ms,
            "expires_ms": tx.now_ms + outcome.keep_for_ms,
            "answer_bytes": len(outcome.reply.body or b""),
            "cost_nanos": outcome.cost.nanos,
            "is_shared": len(outcome.attempt.keys) > 1,
        }
        for outcome in outcomes
        for key in outcome.attempt.keys
    }
    tx.bulk(_put, [table[key] for key in sorted(table)])


def used(tx: Transaction, uses: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Count how often each entry has answered.

    Args:
        found: The answers that this transaction found in the cache and points requests to.

    Raises:
        DatabaseError: An entry that was found stands no more, or for another answer: what was found may be deleted
            by now (see `db.cache_contents`). The transaction has to be made again.
    """
    table = [{"cache_key": key, "uses": uses[key], "answer_id": found.get(key)} for key in sorted(uses)]
    if len(table) > 1 and tx.dialect != "sqlite":
        tx.rows(_lock, keys=sorted(uses))
    if tx.bulk(_use, table, at_ms=tx.now_ms) < len(table):
        raise DatabaseError("an entry of the cache was dropped while it was used", "try again")
