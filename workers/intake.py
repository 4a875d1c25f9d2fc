"""Intake: takes a stream of lines in as a batch, all of it or nothing."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from batchmill.cache.keys import request_key
from batchmill.cache.policy import may_share
from batchmill.errors import DatabaseError, InputError, InvalidLinesError
from batchmill.requests.ids import request_id
from batchmill.requests.model import BatchOptions, LineError, RequestLine
from db import batches, requests, sweep
from db.engine import Database

CHUNK = 2_000
CHUNK_BYTES = 32_000_000


def take_in(
    database: Database,
    batch: Any,
    lines: Iterable[RequestLine | LineError],
    options: BatchOptions,
    *,
    on_bad_line: Callable[[LineError], None],
    on_chunk: Callable[[int], None] = lambda _: None,
) -> int:
    """Validate and store every line, then let the batch run; how many requests it has. Memory never holds the input.

    Rows go in in chunks, each its own transaction, under a batch that is still `validating`; one small
    transaction at the end starts it. Once a line is bad the rest goes in by name only, to be
    looked through for repeated custom_ids, and out again.

    Args:
        batch: Its row, in `validating`.
        on_bad_line: Told of every bad line as it is met, in order; repeated custom_ids last.
        on_chunk: Told how many lines are stored so far.

    Raises:
        InvalidLinesError: Some lines are bad. Nothing of the input is left in the database.
        InputError: The input cannot be read to its end, or has no requests. Nothing is left either.
    """
    try:
        return _take_in(database, batch, lines, options, on_bad_line, on_chunk)
    except BaseException as error:
        # If it cannot be discarded the next command does it; that error is not to hide this one.
        with contextlib.suppress(DatabaseError):
            sweep.discard(database, batch.id, str(error) or type(error).__name__)
        raise


def _take_in(
    database: Database,
    batch: Any,
    lines: Iterable[RequestLine | LineError],
    options: BatchOptions,
    on_bad_line: Callable[[LineError], None],
    on_chunk: Callable[[int], None],
) -> int:
    bad: set[int | None] = set()
    total = chunk_bytes = 0
    chunk: list[dict[str, Any]] = []
    endpoint = None
    for line in lines:
        if isinstance(line, LineError):
            bad.add(line.line)
            on_bad_line(line)
            continue
        total += 1
        endpoint = line.endpoint
        row = _name_only(batch.id, total, line) if bad else _row(batch.id, total, line, options)
        chunk.append(row)
        chunk_bytes += len(row["body"])
        if len(chunk) >= CHUNK or chunk_bytes >= CHUNK_BYTES:
            _store(database, batch.id, chunk)
            chunk, chunk_bytes = [], 0
            on_chunk(total)
    _store(database, batch.id, chunk)
    bad |= _report_duplicates(database, batch.id, on_bad_line)
    if bad:
        raise InvalidLinesError(
            f"{_counted(bad)} not valid; nothing was accepted", "correct the input, then run it again"
        )
    if endpoint is None:
        raise InputError("the input has no requests", "put one request on each line")
    with database.write() as tx:
        if not batches.start(tx, batch.id, endpoint=endpoint, total=total):
            raise InputError("the batch was given up while its input was read", "run the same command again")
    return total


def _row(batch: int, place: int, line: RequestLine, options: BatchOptions) -> dict[str, Any]:
    key = _key(line, options) if may_share(line.body, options.cache, line.endpoint) else None
    return _name_only(batch, place, line) | {
        "model": line.model,
        "body": orjson.dumps(line.body).decode(),
        "cache_key": key.hex() if key is not None else None,
    }


def _name_only(batch: int, place: int, line: RequestLine) -> dict[str, Any]:
    return {
        "request_id": request_id(batch, place),
        "batch_id": batch,
        "line": line.line,
        "custom_id": line.custom_id,
        "model": "",
        "body": "",
        "cache_key": None,
        "request_type": line.request_type,
    }


def _counted(bad: set[int | None]) -> str:
    if bad == {None}:
        return "the file is"
    return "1 line is" if len(bad) == 1 else f"{len(bad):,} lines are"


def _key(line: RequestLine, options: BatchOptions) -> bytes:
    return request_key(
        tenant=options.tenant, upstream=options.upstream, endpoint=line.endpoint, body=line.body
    )


def _store(database: Database, batch: int, chunk: list[dict[str, Any]]) -> None:
    if not chunk:
        return
    with database.write() as tx:
        if not batches.touch(tx, batch):
            raise InputError("the batch was given up while its input was read", "run the same command again")
        requests.add(tx, chunk)


def _report_duplicates(
    database: Database, batch: int, on_bad_line: Callable[[LineError], None]
) -> set[int | None]:
    with database.read() as tx:
        again = requests.duplicates(tx, batch)
    for row in again:
        on_bad_line(
            LineError(
                line=row.line,
                code="duplicate_custom_id",
                message=f"The custom_id {row.custom_id!r} is already used by line {row.first_line}.",
                param="custom_id",
            )
        )
    return {row.line for row in again}
