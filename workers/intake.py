"""Intake: takes a stream of lines in as a batch, all of it or nothing."""

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import orjson

from batchmill.cache.lines import LineKeys
from batchmill.errors import ConflictError, DatabaseError, InputError, InvalidLinesError
from batchmill.failpoints import Failpoint, reached
from batchmill.requests.ids import request_id
from batchmill.requests.model import BatchOptions, Endpoint, LineError, RequestLine, told_bad
from batchmill.requests.names import Names, duplicate
from batchmill.routing.upstreams import NOWHERE, Upstreams
from db import batches, catalogue, requests, sweep
from db.engine import Database, Transaction
from workers.unpriced import PriceGuard

CHUNK = 2_000
CHUNK_BYTES = 32_000_000
MOST_NAMES = 1_000_000
"""So many lines are told apart in memory (8 MB); beyond that only the database looks for repeated names.

Looking at every name again in the database costs a tenth of the whole intake.
"""


def take_in(
    database: Database,
    batch: Any,
    lines: Iterable[RequestLine | LineError],
    options: BatchOptions,
    *,
    on_bad_line: Callable[[LineError], None],
    on_chunk: Callable[[int], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
    upstreams: Upstreams = NOWHERE,
    prices: PriceGuard | None = None,
) -> int:
    """Validate and store every line, then let the batch run; how many requests it has. Memory never holds the input.

    Rows go in in chunks, each its own transaction, under a batch that is still `validating`; one small
    transaction at the end starts it. Once a line is bad the rest goes in by name only, to be
    looked through for repeated custom_ids, and out again.

    Args:
        batch: Its row, in `validating`.
        on_bad_line: Told of every bad line as it is met, in order; repeated custom_ids last.
        on_chunk: Told how many lines are stored so far.
        check: Called for every line; what it raises ends the intake, and nothing is left of it.
        upstreams: Where the providers of its lines are called.
        prices: Shown every line, where a budget refuses models without a known price.

    Raises:
        UnpricedError: A budget covers a model without a known price. Nothing of the input is left.
        InvalidLinesError: Some lines are bad. Nothing of the input is left in the database.
        InputError: The input cannot be read to its end, or has no requests. Nothing is left either.
    """
    keep = partial(batches.touch, batch=batch.id)
    try:
        return read_in(
            database,
            batch,
            lines,
            options,
            keep=keep,
            on_bad_line=on_bad_line,
            on_chunk=on_chunk,
            check=check,
            upstreams=upstreams,
            prices=prices,
        )
    except BaseException as error:
        # If it cannot be discarded the next command does it; that error is not to hide this one.
        with contextlib.suppress(DatabaseError):
            sweep.discard(database, batch.id, str(error) or type(error).__name__)
        raise


def read_in(
    database: Database,
    batch: Any,
    lines: Iterable[RequestLine | LineError],
    options: BatchOptions,
    *,
    keep: Callable[[Transaction], bool],
    on_bad_line: Callable[[LineError], None],
    on_chunk: Callable[[int], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
    upstreams: Upstreams = NOWHERE,
    prices: PriceGuard | None = None,
    on_line: Callable[[RequestLine], None] = lambda _: None,
    most_bad: int | None = None,
) -> int:
    """The same for whoever clears up himself: what stops it leaves the rows that are stored by then.

    Args:
        keep: Called in every transaction; tells whether the batch is still this reader's to fill.
        on_line: Told of every valid line.
        most_bad: After so many bad lines the rest is not looked at; memory holds their numbers.
    """
    bad: set[int | None] = set()
    names = Names(MOST_NAMES)
    chunk = _Chunk(batch.id, LineKeys(options, upstreams))
    auto = _Auto(database)
    for line in lines:
        check()
        if most_bad is not None and len(bad) >= most_bad:
            break
        if isinstance(line, LineError):
            bad.add(line.line)
            on_bad_line(line)
            continue
        names.add(line.custom_id)
        if not line.provider:
            auto.require_models()
        if prices is not None:
            prices.see(line)
        on_line(line)
        chunk.add(line, by_name_only=bool(bad) or (prices is not None and prices.has_refused))
        if chunk.is_full():
            _store(database, keep, chunk.empty())
            reached(Failpoint.IN_INTAKE)
            on_chunk(chunk.place)
    _store(database, keep, chunk.empty())
    if names.may_repeat():
        bad |= _report_duplicates(database, batch.id, on_bad_line, most_bad)
    if bad:
        raise InvalidLinesError(
            f"{told_bad(bad)} not valid; nothing was accepted", "correct the input, then run it again"
        )
    if prices is not None:
        prices.require_prices()
    if chunk.endpoint is None:
        raise InputError("the input has no requests", "put one request on each line")
    reached(Failpoint.BEFORE_START)
    with database.write() as tx:
        upstream = chunk.upstream(upstreams)
        if not keep(tx) or not batches.start(
            tx, batch.id, endpoint=chunk.endpoint, total=chunk.place, upstream=upstream
        ):
            raise _given_up()
    reached(Failpoint.AFTER_START)
    return chunk.place


class _Auto:
    """Whether there is anything to choose from, looked up once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_models = False

    def require_models(self) -> None:
        """Make sure that a line may leave the choice to us.

        Raises:
            ConflictError: The catalogue has no model that may be chosen.
        """
        if self._has_models:
            return
        with self._database.read() as tx:
            self._has_models = bool(catalogue.entries(tx, active_only=True))
        if not self._has_models:
            raise ConflictError(
                "a line asks for the model auto, and the catalogue has no model to choose from; nothing was accepted",
                "fill it with `batchmill providers setup`, or name a model",
            )


class _Chunk:
    """The rows that go in next.

    Attributes:
        place: How many requests there were so far, in all chunks.
        endpoint: Theirs; None before the first.
    """

    def __init__(self, batch: int, keys: LineKeys) -> None:
        self.place = 0
        self.endpoint: Endpoint | None = None
        self._batch = batch
        self._keys = keys
        self._providers: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, line: RequestLine, *, by_name_only: bool) -> None:
        """Append the row of a request; without its content where that will not be needed."""
        self.endpoint = line.endpoint
        self._providers.add(line.provider)
        self.place += 1
        body = "" if by_name_only else orjson.dumps(line.body).decode()
        self._bytes += len(body)
        self._rows.append(
            {
                "request_id": request_id(self._batch, self.place),
                "batch_id": self._batch,
                "line": line.line,
                "custom_id": line.custom_id,
                "provider": line.provider,
                "model": line.model,
                "body": body,
                "routing": line.routing,
                "cache_key": None if by_name_only or (key := self._keys.key(line)) is None else key.hex(),
                "request_type": line.request_type,
                "is_auto": not line.provider,
            }
        )

    def upstream(self, upstreams: Upstreams) -> str:
        """Whom they are meant for: every provider they name, and for any model whoever can be called."""
        named = self._providers - {""}
        return upstreams.of_all(named | upstreams.usable if "" in self._providers else named)

    def is_full(self) -> bool:
        """Whether it is time for a transaction."""
        return len(self._rows) >= CHUNK or self._bytes >= CHUNK_BYTES

    def empty(self) -> list[dict[str, Any]]:
        """Take the rows out."""
        rows, self._rows, self._bytes = self._rows, [], 0
        return rows


def _store(database: Database, keep: Callable[[Transaction], bool], chunk: list[dict[str, Any]]) -> None:
    if not chunk:
        return
    with database.write() as tx:
        if not keep(tx):
            raise _given_up()
        tx.commit_lazily()  # nobody believes these rows before `batches.start` is committed
        requests.add(tx, chunk)


def _given_up() -> InputError:
    return InputError("the batch was given up while its input was read", "run the same command again")


def _report_duplicates(
    database: Database, batch: int, on_bad_line: Callable[[LineError], None], most: int | None
) -> set[int | None]:
    with database.read() as tx:
        again = requests.duplicates(tx, batch, most)
    for row in again:
        on_bad_line(duplicate(row.line, row.custom_id, row.first_line))
    return {row.line for row in again}
