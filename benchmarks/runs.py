"""One `batchmill run`, watched: what it took, by its database's own times and by the kernel's accounts."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.processes import Role, Watch, watching
from benchmarks.stage import Home, Provider, Stage
from benchmarks.store import Store
from db.engine import Database
from db.tables import attempts, batches, ledger

PATIENCE_S = 600.0


class BenchmarkError(Exception):
    """What was to be measured did not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run that went to its end.

    Attributes:
        command_s: The whole command, from its start to its exit.
        answering_s: From the batch's start, its last line stored, to the commit that settled its last request.
        settled_per_s: Lines a second from the first commit that settled any to the last. Commits are known by when
            they began, so the last one's lines are not counted.
        batch: Its row.
    """

    lines: int
    command_s: float
    answering_s: float
    settled_per_s: float
    batch: Any
    watch: Watch

    def cpu_ms_a_line(self, role: Role) -> float:
        """CPU time a line while the batch was answered; starts and ends of processes are not in it."""
        used_s = self.watch.cpu_s(role, self.batch.started_ms / 1000, self.batch.finalizing_ms / 1000)
        return used_s * 1000 / self.lines


def measure(
    stage: Stage, store: Store, home: Home, provider: Provider, path: Path, *options: str
) -> Measured:
    """Run the command on a file to its end.

    Raises:
        BenchmarkError: It failed, or some lines did.
    """
    begun = time.monotonic()
    process = start(home, path, *options)
    with watching(roots(stage, store, process.pid, provider)) as watch:
        said, complaints = process.communicate(timeout=PATIENCE_S)
    command_s = time.monotonic() - begun
    if process.returncode != 0:
        raise BenchmarkError(
            f"{path.name}: exit {process.returncode}: {complaints}{home.mill.worker_log()[-2000:]}"
        )
    report = json.loads(said)
    batch = newest_batch(home.database)
    answering_s = (batch.finalizing_ms - batch.started_ms) / 1000
    return Measured(
        lines=report["total"],
        command_s=command_s,
        answering_s=answering_s,
        settled_per_s=settled_per_s(_commits(home.database, batch.id)) or report["total"] / answering_s,
        batch=batch,
        watch=watch,
    )


def start(home: Home, path: Path, *options: str) -> subprocess.Popen[str]:
    """Start the command on a file."""
    output = home.mill.folder / f"{path.stem}.out.jsonl"
    return home.mill.start("run", path, "-o", output, "--json", *options)


def roots(stage: Stage, store: Store, launcher: int, provider: Provider) -> dict[int, Role]:
    """Whom to watch."""
    found = {launcher: Role.LAUNCHER, provider.pid: Role.SANDBOX}
    if store is Store.POSTGRESQL:
        found[stage.postmaster] = Role.DATABASE
    return found


def newest_batch(database: Database) -> Any:
    """The row of the batch that was made last; None without any."""
    with database.read() as tx:
        found = tx.rows(select(batches).order_by(batches.c.id.desc()).limit(1))
    return found[0] if found else None


def call_times_ms(database: Database) -> Sequence[tuple[int, int]]:
    """When each call was sent and when it had ended, in the order of sending."""
    with database.read() as tx:
        found = tx.rows(select(attempts.c.sent_ms, attempts.c.ended_ms).order_by(attempts.c.sent_ms))
    return [(row.sent_ms, row.ended_ms) for row in found]


def settled_per_s(commits: Sequence[tuple[int, int]]) -> float | None:
    """Lines a second, of when each commit began, in milliseconds, and how many lines it settled; None of a single one.

    From the first beginning to the last: what the last commit settled took longer, and is not counted.
    """
    *before, (ended_ms, _) = commits
    if not before:
        return None
    return sum(lines for _, lines in before) * 1000 / (ended_ms - before[0][0])


def _commits(database: Database, batch: int) -> Sequence[tuple[int, int]]:
    commits = select(ledger.c.at_ms, func.count().label("lines")).where(ledger.c.batch_id == batch)
    with database.read() as tx:
        found = tx.rows(commits.group_by(ledger.c.at_ms).order_by(ledger.c.at_ms))
    return [(row.at_ms, row.lines) for row in found]
