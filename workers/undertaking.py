"""Undertaking: what a run is asked to do, and the batch it does it with: a new one, or its own that was interrupted."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from batchmill.errors import ConflictError
from batchmill.requests.deadline import require_future
from batchmill.requests.model import BatchOptions, BatchState
from batchmill.requests.source import InputFile
from batchmill.routing.upstreams import Upstreams
from db import batches, sweep
from db.engine import Database
from workers.budgets import grant_budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run is asked to do.

    Attributes:
        concurrency: Calls in flight, over all its processes.
        deadline_ms: Until when calls are made, if it is a new batch; one that goes on keeps its own.
        fresh: Give up an unfinished batch for the same output, if there is one.
    """

    source: InputFile
    output: Path
    errors: Path
    options: BatchOptions
    upstreams: Upstreams
    processes: int
    concurrency: int
    deadline_ms: int | None = None
    fresh: bool = False

    def key(self) -> str:
        """What tells this run from others: input, output and options, but not how fast it is done, by when, or for
        how much."""
        options = asdict(replace(self.options, budget_nanos=None, on_budget=None))
        parts = [self.source.identity(), str(self.output), str(self.errors), options]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def find_or_create(database: Database, wanted: Wanted, key: str) -> tuple[Any, bool]:
    """The unfinished batch of this very run, or a new one; and whether it is to be gone on with. Either way it has the
    budget that is wanted; one that goes on keeps its own, where none is named.

    Args:
        key: That of `wanted`, for which the whole input is read: before there is anything to be cleaned up.

    Raises:
        ConflictError: The output is owed to another run's batch, and `wanted` is not `fresh`.
        MisuseError: It would be a new batch, and its deadline has passed.
    """
    with database.read() as tx:
        unfinished, now_ms = batches.unfinished_at(tx, str(wanted.output)), tx.now_ms
    is_half_read = unfinished is not None and unfinished.state == BatchState.VALIDATING
    if unfinished is not None and _is_same(unfinished, wanted, key) and not (is_half_read or wanted.fresh):
        with database.write() as tx:
            batches.resume(tx, unfinished.id)
            grant_budget(tx, unfinished, wanted.options)
            return batches.rows(tx, [unfinished.id])[unfinished.id], True
    require_future(wanted.deadline_ms, now_ms)
    if unfinished is not None and is_half_read:
        sweep.discard(database, unfinished.id, "its ingest was interrupted")
    elif unfinished is not None:
        _give_up(database, wanted, unfinished)
    with database.write() as tx:
        created = batches.create(
            tx,
            wanted.options,
            run_key=key,
            output_path=str(wanted.output),
            errors_path=str(wanted.errors),
            deadline_ms=wanted.deadline_ms,
        )
        grant_budget(tx, created, wanted.options)
    return created, False


def _is_same(unfinished: Any, wanted: Wanted, key: str) -> bool:
    """Whether a batch is that of this very run, and still meant for providers where they are called now."""
    return unfinished.run_key == key and unfinished.upstream in wanted.upstreams.served()


def _give_up(database: Database, wanted: Wanted, unfinished: Any) -> None:
    if not wanted.fresh:
        raise ConflictError(
            f'"{wanted.output}" is owed the results of {unfinished.public_id}, an unfinished batch of'
            " another input, other options, or providers that are set up in another way now",
            "run that command again to finish it, name another output, or give it up with --fresh",
        )
    with database.write() as tx:
        batches.cancel(tx, unfinished.id)
        batches.disown(tx, unfinished.id)
    sweep.end_idle(database, unfinished.id, BatchState.CANCELLED)
    with database.write() as tx:
        batches.finish(tx, unfinished.id)
