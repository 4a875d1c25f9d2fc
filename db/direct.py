"""Direct requests: each has a caller who waits for it, and is a batch of its own, claimed as soon as it is there.

Claims look for work that nobody has; a direct request is entered by the very worker that will call for it, in the
transaction that looks it up in the cache. Should it have to be tried again, it is claimed like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import bindparam, func, insert, literal_column, select, true
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.requests.ids import new_batch_id, request_id
from batchmill.requests.model import BatchOptions, BatchState, Endpoint, RequestLine, RequestState
from batchmill.requests.work import BatchFacts, Job
from db.bulk import BOOL, INT, STR, bulk_insert, rows_of
from db.engine import Database, Transaction
from db.prepared import Prepared, among
from db.tables import answers, batches, claims, inputs, requests, shares

_batch_columns = {
    **dict.fromkeys(("public_id", "lane", "endpoint", "job_name", "request_type", "tenant"), STR),
    **dict.fromkeys(("user_id", "agent", "upstream", "routing", "cache", "on_unknown", "on_budget"), STR),
    "deadline_ms": INT,
}
_claim_columns = {"batch_id": INT, "request_ids": STR}
_load_inputs = bulk_insert(
    inputs,
    {"request_id": INT, "batch_id": INT, "line": INT}
    | dict.fromkeys(("custom_id", "provider", "model", "body", "routing"), STR),
)
_load_requests = bulk_insert(
    requests,
    {
        "id": INT,
        "batch_id": INT,
        "state": STR,
        "claim_id": INT,
        "cache_key": STR,
        "request_type": STR,
        "is_auto": BOOL,
    },
)


def _begin_statement(dialect: str) -> Any:
    given = rows_of(dialect, _batch_columns)
    now = bindparam("at_ms", type_=INT)
    values: dict[str, Any] = {name: given.c[name] for name in _batch_columns} | {
        "state": literal_column(f"'{BatchState.IN_PROGRESS}'"),
        "is_direct": true(),
        "total": literal_column("1"),
        "cursor": literal_column("1"),
        **dict.fromkeys(("created_ms", "touched_ms", "started_ms"), now),
    }
    begun = insert(batches).from_select(list(values), select(*values.values()))
    return begun.returning(batches.c.id, batches.c.public_id)


def _claim_statement(dialect: str) -> Any:
    given = rows_of(dialect, _claim_columns)
    values: dict[str, Any] = {name: given.c[name] for name in _claim_columns} | {
        "worker_id": bindparam("worker_id", type_=STR),
        "lease_until_ms": bindparam("until", type_=INT),
    }
    made = insert(claims).from_select(list(values), select(*values.values()))
    return made.returning(claims.c.id, claims.c.batch_id)


def _share_statement(dialect: str) -> Any:
    """Claims serve shares; whoever has none yet begins behind the others, as nothing of his waits."""
    last = select(func.coalesce(func.max(shares.c["pass"]), 0)).scalar_subquery()
    kind = postgresql.insert if dialect == "postgresql" else sqlite.insert
    values = {"lane": bindparam("of_lane"), "tenant": bindparam("of_tenant"), "pass": last}
    return kind(shares).values(values).on_conflict_do_nothing()


_begin = Prepared(_begin_statement)
_claim = Prepared(_claim_statement)
_share = Prepared(_share_statement)
_standings = Prepared(
    select(
        requests.c.id,
        requests.c.state,
        requests.c.next_run_ms,
        batches.c.state.label("batch_state"),
        batches.c.paused_reason,
        batches.c.waits_for_budget_id,
        batches.c.cached,
        batches.c.spent_nanos,
        batches.c.unpriced,
        batches.c.unknown_attempts,
        answers.c.status_code,
        answers.c.body,
        answers.c.error_code,
        answers.c.error_message,
        func.coalesce(answers.c.provider, "").label("provider"),
        func.coalesce(answers.c.model, "").label("model"),
        func.coalesce(answers.c.finish_reason, "").label("finish_reason"),
    )
    .join_from(requests, batches, batches.c.id == requests.c.batch_id)
    .join(answers, answers.c.id == requests.c.answer_id, isouter=True)
    .where(among(requests.c.id, "ids"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A request that is to be entered.

    Attributes:
        public_id: The name of its batch: fresh, made by whoever enters it.
        line: As addressed.
        cache_key: As hexadecimal digits; None when its answer may be neither taken from the cache nor shared.
        upstream: Whom it is meant for (`routing.upstreams`).
        within_ms: After this nobody waits for it any more, and it expires.
    """

    public_id: str
    line: RequestLine
    options: BatchOptions
    cache_key: str | None
    upstream: str
    within_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a direct request stands.

    Attributes:
        due_ms: When a pending one may be claimed again.
        paused_reason: Why its batch stands still; "" when it does not.
        waits_for_budget: That is for a budget.
        is_cached: It was answered without a call.
        cost_nanos: Of all its calls; None = that of some is not known.
        status_code: Of its answer, as all below; None without an HTTP answer.
        provider: Who gave it; "" where it is our own word.
    """

    state: RequestState
    due_ms: int | None = None
    paused_reason: str = ""
    waits_for_budget: bool = False
    is_cached: bool = False
    cost_nanos: int | None = 0
    status_code: int | None = None
    body: bytes | None = None
    error_code: str = ""
    error_message: str = ""
    provider: str = ""
    model: str = ""
    finish_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A request that is entered.

    Attributes:
        job: The request to be called for, under our claim; None when it need not be, or not by us.
        standing: How it stands where there is no job: answered from the cache, or waiting for who asks the same.
    """

    request_id: int
    batch_id: int
    job: Job | None = None
    standing: Standing | None = None


def new_entry_id() -> str:
    """A fresh name for the batch of one request."""
    return new_batch_id()


def enter(tx: Transaction, entries: Sequence[Entry], worker_id: str, lease_ms: int) -> dict[str, Job]:
    """Enter these requests, each as a running batch of its own that is claimed by this worker; by their batches' names.

    Nobody else can know of them before this transaction ends, so nothing is waited for.
    """
    if not entries:
        return {}
    begun = tx.bulk_rows(_begin, [_batch(tx, entry) for entry in entries], at_ms=tx.now_ms)
    ids = {row.public_id: row.id for row in begun}
    claimed = tx.bulk_rows(
        _claim,
        [{"batch_id": id_, "request_ids": _listed(request_id(id_, 1))} for id_ in ids.values()],
        worker_id=worker_id,
        until=tx.now_ms + lease_ms,
    )
    claim_of = {row.batch_id: row.id for row in claimed}
    jobs = {
        entry.public_id: _job(entry, ids[entry.public_id], claim_of[ids[entry.public_id]], tx.now_ms)
        for entry in entries
    }
    tx.bulk(_load_inputs, [_input(entry, jobs[entry.public_id]) for entry in entries])
    tx.bulk(_load_requests, [_request(jobs[entry.public_id], entry) for entry in entries])
    for lane, tenant in sorted({(entry.options.lane, entry.options.tenant) for entry in entries}):
        tx.run(_share, of_lane=lane, of_tenant=tenant)
    return jobs


def standings(tx: Transaction, ids: Sequence[int]) -> dict[int, Standing]:
    """How these requests stand."""
    return {row.id: _standing(row) for row in tx.rows(_standings, ids=list(ids))} if ids else {}


def standing_of(database: Database, request: int) -> Standing:
    """How one request stands now."""
    with database.read() as tx:
        return standings(tx, [request])[request]


def _batch(tx: Transaction, entry: Entry) -> dict[str, Any]:
    options = entry.options
    return {
        "public_id": entry.public_id,
        "lane": options.lane,
        "endpoint": entry.line.endpoint,
        "job_name": options.job_name,
        "request_type": options.request_type,
        "tenant": options.tenant,
        "user_id": options.user,
        "agent": options.agent,
        "upstream": entry.upstream,
        "routing": options.routing,
        "cache": options.cache,
        "on_unknown": options.on_unknown,
        "on_budget": options.on_budget or "",
        "deadline_ms": tx.now_ms + entry.within_ms,
    }


def _job(entry: Entry, batch: int, claim: int, now_ms: int) -> Job:
    line, options = entry.line, entry.options
    facts = BatchFacts.of(
        options,
        id=batch,
        public_id=entry.public_id,
        endpoint=Endpoint(line.endpoint),
        started_ms=now_ms,
    )
    return Job(
        request_id=request_id(batch, 1),
        batch=facts,
        claim_id=claim,
        cache_key=entry.cache_key,
        request_type=line.request_type or options.request_type,
        provider=line.provider,
    )


def _input(entry: Entry, job: Job) -> dict[str, Any]:
    line = entry.line
    return {
        "request_id": job.request_id,
        "batch_id": job.batch.id,
        "line": line.line,
        "custom_id": line.custom_id,
        "provider": line.provider,
        "model": line.model,
        "body": orjson.dumps(line.body).decode(),
        "routing": line.routing,
    }


def _request(job: Job, entry: Entry) -> dict[str, Any]:
    return {
        "id": job.request_id,
        "batch_id": job.batch.id,
        "state": RequestState.CLAIMED,
        "claim_id": job.claim_id,
        "cache_key": job.cache_key,
        "request_type": entry.line.request_type,
        "is_auto": not entry.line.provider,
    }


def _listed(request: int) -> str:
    return orjson.dumps([request]).decode()


def _standing(row: Any) -> Standing:
    is_known = not row.unpriced and not row.unknown_attempts
    return Standing(
        state=RequestState(row.state),
        due_ms=row.next_run_ms,
        paused_reason=row.paused_reason if row.batch_state == BatchState.PAUSED else "",
        waits_for_budget=row.waits_for_budget_id is not None,
        is_cached=bool(row.cached),
        cost_nanos=row.spent_nanos if is_known else None,
        status_code=row.status_code,
        body=None if row.body is None else row.body.encode(),
        error_code=row.error_code or "",
        error_message=row.error_message or "",
        provider=row.provider,
        model=row.model,
        finish_reason=row.finish_reason,
    )
