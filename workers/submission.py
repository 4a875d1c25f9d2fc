"""Submission: a batch is handed in, for others to answer."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from batchmill.requests.deadline import require_future
from batchmill.requests.model import BatchOptions, LineError, RequestLine
from batchmill.settings import Settings
from db import batches
from db.engine import Database
from workers import attendance
from workers.addresses import addressing_of, upstreams_of
from workers.budgets import define_environment_budgets, grant_budget
from workers.intake import take_in
from workers.unpriced import price_guard


def submit(
    database: Database,
    settings: Settings,
    lines: Iterable[RequestLine | LineError],
    options: BatchOptions,
    *,
    deadline_ms: int | None = None,
    on_bad_line: Callable[[LineError], None],
    on_chunk: Callable[[int], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Any:
    """Take in a batch that workers answer and nobody delivers: its results are read from the database; its row.

    Killed on the way, it leaves a batch in `validating` that is never answered: on an embedded home the next
    command discards it, on a shared database the sweep does, an hour later.

    Args:
        deadline_ms: What has not been answered by then expires.
        check: Called for every line; what it raises ends the submission, and nothing is left of it.

    Raises:
        MisuseError: The deadline has passed.
        InvalidLinesError: Some lines are bad. Nothing was accepted.
        UnpricedError: A budget covers a model without a known price. Nothing was accepted.
        InputError: The input cannot be read to its end, or has no requests. Nothing was accepted.
    """
    define_environment_budgets(database, settings)
    with ExitStack() as attended:
        with database.write() as tx:
            require_future(deadline_ms, tx.now_ms)
            batch = batches.create(tx, options, deadline_ms=deadline_ms)
            grant_budget(tx, batch, options)
            attended.enter_context(attendance.attend_ingest(settings, batch.public_id))
        take_in(
            database,
            batch,
            addressing_of(settings).read(lines),
            options,
            on_bad_line=on_bad_line,
            on_chunk=on_chunk,
            check=check,
            upstreams=upstreams_of(settings),
            prices=price_guard(database, settings, batch),
        )
    with database.read() as tx:
        return batches.rows(tx, [batch.id])[batch.id]
