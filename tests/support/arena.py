"""Arenas: four worker processes that answer for real, and whatever can be done to them while they do."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import redis
from sqlalchemy import func, select

from batchmill.requests.model import Lane
from batchmill.settings import load_settings
from db import schema, sweep
from db.engine import Database
from db.tables import claims, requests
from tests.support.mill import Mill
from workers.app import make_app
from workers.assembly import make_judge
from workers.broker import EmbeddedBroker
from workers.doorbell import Doorbell
from workers.upkeep import ring

WORKERS = 4
CONCURRENCY = "8"
LOG = "workers.log"
TEND_EVERY_S = 0.5
HASTY = {"BATCHMILL_LEASE_S": "2"}
"""What a dead worker held is soon taken back. One that is merely slow has unknown calls then, which breaks no promise;
but where nobody is killed, nothing is to be unknown."""


class Arena(Protocol):
    """Workers at work on one database.

    Attributes:
        mill: For commands.
    """

    mill: Mill
    database: Database

    def tend(self) -> None:
        """Start whoever does not run, and do the upkeep that is nobody else's."""
        ...

    def hurt(self, draw: random.Random) -> None:
        """Kill -9 of somebody."""
        ...

    def flush(self) -> None:
        """FLUSHALL on the broker."""
        ...

    def log(self) -> str:
        """What the workers have said."""
        ...


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _start(mill: Mill, *options: str) -> subprocess.Popen[str]:
    with (mill.folder / LOG).open("a") as log:
        return mill.start("worker", "--concurrency", CONCURRENCY, *options, log=log)


def _said(mill: Mill) -> str:
    log = mill.folder / LOG
    return log.read_text() if log.exists() else ""


@dataclass(slots=True)
class Home:
    """An embedded home: SQLite, a broker of its own, and one `batchmill worker` with so many processes.

    Attributes:
        is_tended: Whether that is started, and started again, here.
    """

    mill: Mill
    database: Database
    workers: int = WORKERS
    is_tended: bool = True
    _worker: subprocess.Popen[str] | None = None

    def tend(self) -> None:
        """Start the command again when it has been killed; it does the upkeep itself."""
        if self.is_tended and (self._worker is None or self._worker.poll() is not None):
            self._worker = _start(self.mill, "--processes", str(self.workers))

    def hurt(self, draw: random.Random) -> None:
        """Kill a worker, or now and then the command, its workers and its broker, all at once."""
        if draw.random() < 0.2:
            _kill(self.mill.processes())
        elif pids := sorted(self.mill.worker_children()):
            _kill([draw.choice(pids)])

    def flush(self) -> None:
        """FLUSHALL, if the broker runs just now."""
        socket = unquote(EmbeddedBroker(self.mill.home).url.removeprefix("redis+socket://"))
        with suppress(redis.ConnectionError), redis.Redis(unix_socket_path=socket) as broker:
            broker.flushall()

    def log(self) -> str:
        """What the workers have said."""
        return _said(self.mill)


@dataclass(slots=True)
class Machines:
    """Machines with a `batchmill worker` each, a database and a Valkey between them."""

    mill: Mill
    database: Database
    machines: Sequence[Mill]
    _workers: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    _tended_at: float = float("-inf")

    def tend(self) -> None:
        """Start whoever was killed; sweep and ring, in the place of beat, which would do so only every ten seconds."""
        for number, machine in enumerate(self.machines):
            if number not in self._workers or self._workers[number].poll() is not None:
                self._workers[number] = _start(machine)
        if time.monotonic() - self._tended_at > TEND_EVERY_S:
            self._tended_at = time.monotonic()
            swept = sweep.sweep(
                self.database, make_judge(load_settings(self.mill.environment(), None)), "arena"
            )
            if swept is not None:
                doorbell = Doorbell(make_app(self.mill.environ["BROKER_URL"], tuple(Lane)))
                ring(self.database, doorbell, swept.to_ring, least=len(self.machines))

    def hurt(self, draw: random.Random) -> None:
        """Kill a machine's worker with all its processes, or just the one that makes the calls."""
        machine = draw.choice(self.machines)
        _kill(machine.processes() if draw.random() < 0.5 else machine.worker_children())

    def flush(self) -> None:
        """FLUSHALL."""
        with redis.Redis.from_url(self.mill.environ["BROKER_URL"]) as broker:
            broker.flushall()

    def log(self) -> str:
        """What the workers have said, machine by machine."""
        return "".join(map(_said, self.machines))

    def at_work(self) -> list[subprocess.Popen[str]]:
        """The commands that run, and have begun to work."""
        return [
            process
            for number, process in self._workers.items()
            if process.poll() is None and self.machines[number].worker_children()
        ]

    def log_of(self, number: int) -> str:
        """What one of them has said."""
        return _said(self.machines[number])

    def forget_log(self, number: int) -> None:
        """Let it begin anew."""
        (self.machines[number].folder / LOG).unlink(missing_ok=True)

    def part_environments(self) -> None:
        """Give each machine an environment of its own, as all have it by now."""
        for machine in self.machines:
            machine.environ = dict(machine.environ)


@contextmanager
def home(folder: Path, workers: int = WORKERS) -> Iterator[Home]:
    """An embedded home for as long as the context lasts."""
    mill = Mill(folder=folder, environ={"BATCHMILL_LOG_LEVEL": "error"})
    mill.home.mkdir()
    database = Database(f"sqlite:///{mill.home}/batchmill.db")
    schema.upgrade(database)
    try:
        yield Home(mill, database, workers)
    finally:
        mill.close()
        database.close()


@contextmanager
def machines(folder: Path, database_url: str, broker_url: str, workers: int = WORKERS) -> Iterator[Machines]:
    """So many machines for as long as the context lasts."""
    environ = {
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "BATCHMILL_LOG_LEVEL": "error",
    }
    mills = []
    for name in ("office", *(f"machine-{number}" for number in range(workers))):
        (folder / name).mkdir()
        mills.append(Mill(folder=folder / name, environ=environ))
    database = Database(database_url)
    try:
        yield Machines(mills[0], database, mills[1:])
    finally:
        for mill in mills:
            mill.close()
        database.close()


def _standing(arena: Arena) -> str:
    """How far it has come, for who has waited in vain."""
    with arena.database.read() as tx:
        lines = tx.rows(select(requests.c.state, func.count().label("times")).group_by(requests.c.state))
        lost = tx.rows(select(func.count()).where(claims.c.lease_until_ms <= tx.now_ms))[0][0]
    states = ", ".join(f"{row.times} {row.state}" for row in lines)
    return f"lines {states or 'none'}; {lost} claims have run out"


def work_until(
    arena: Arena,
    is_over: Callable[[], bool],
    look: Callable[[], int],
    *,
    seed: int | None = None,
    harm: int = 8,
    within_s: float,
) -> tuple[int, int]:
    """Tend an arena until something is so; how many times somebody was killed, and how often all was flushed.

    Args:
        look: Called all the time; how many calls have been made.
        seed: Of what is done to the workers once calls are made; None = nothing is.
        harm: How often something is.
    """
    draw = random.Random(seed)
    deadline, killed, flushed = time.monotonic() + within_s, 0, 0
    strike_at: float | None = None
    while not is_over():
        assert time.monotonic() < deadline, (
            f"§10.1 not within {within_s} s: {_standing(arena)}; {arena.log()[-2000:]}"
        )
        arena.tend()
        if look() and strike_at is None:
            strike_at = time.monotonic() + draw.uniform(0.0, 0.5)
        if seed is not None and killed + flushed < harm and strike_at and time.monotonic() > strike_at:
            strike_at = time.monotonic() + draw.uniform(0.2, 0.8)
            if draw.random() < 0.75:
                arena.hurt(draw)
                killed += 1
            else:
                arena.flush()
                flushed += 1
        time.sleep(0.03)
    return killed, flushed


def work_until_first_is_still(crowd: Machines, look: Callable[[], int], *, within_s: float) -> None:
    """Let the first machine work alone until it stands still: the others might be done before it has begun."""
    everybody = crowd.machines
    crowd.machines = everybody[:1]
    work_until(crowd, lambda: bool(everybody[0].standing_still()), look, within_s=within_s)
    crowd.machines = everybody
