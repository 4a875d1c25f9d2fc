"""One `batchmill run`, watched: what it took, by its database's own times and by the kernel's accounts."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.processes import LOOK_EVERY_S, Role, Watch, watching
from benchmarks.stage import Home, Provider, Stage
from benchmarks.store import Store
from db.engine import Database
from db.tables import attempts, batches, ledger

PATIENCE_S = 1_800.0


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
        settling_s: When the first of those commits began and when the last did, in seconds since 1970; of a single
            commit, when the batch's answering began and ended.
        batch: Its row.
    """

    lines: int
    command_s: float
    answering_s: float
    settled_per_s: float
    batch: Any
    settling_s: tuple[float, float]
    watch: Watch

    def cpu_ms_a_line(self, role: Role) -> float:
        """CPU time a line while the batch was answered; starts and ends of processes are not in it."""
        used_s = self.watch.cpu_s(role, self.batch.started_ms / 1000, self.batch.finalizing_ms / 1000)
        return used_s * 1000 / self.lines

    def settling_cpu_ms_a_line(self, role: Role) -> float:
        """CPU time a line between the first commit that settled any and the last: nothing of starts and ends."""
        begin_s, end_s = self.settling_s
        return self.watch.cpu_s(role, begin_s, end_s) * 1000 / (self.settled_per_s * (end_s - begin_s))


def measure(
    stage: Stage,
    store: Store,
    home: Home,
    provider: Provider,
    path: Path,
    *options: str,
    look_every_s: float = LOOK_EVERY_S,
) -> Measured:
    """Run the command on a file to its end.

    Raises:
        BenchmarkError: It failed, or some lines did.
    """
    begun = time.monotonic()
    process = start(home, path, *options)
    with watching(roots(stage, store, process.pid, provider), look_every_s) as watch:
        said, complaints = process.communicate(timeout=PATIENCE_S)
    command_s = time.monotonic() - begun
    if process.returncode != 0:
        raise BenchmarkError(
            f"{path.name}: exit {process.returncode}: {complaints}{home.mill.worker_log()[-2000:]}"
        )
    report = json.loads(said)
    batch = newest_batch(home.database)
    answering_s = (batch.finalizing_ms - batch.started_ms) / 1000
    commits = _commits(home.database, batch.id)
    settling = (commits[0][0], commits[-1][0]) if commits[1:] else (batch.started_ms, batch.finalizing_ms)
    return Measured(
        lines=report["total"],
        command_s=command_s,
        answering_s=answering_s,
        settled_per_s=settled_per_s(commits) or report["total"] / answering_s,
        batch=batch,
        settling_s=(settling[0] / 1000, settling[1] / 1000),
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
