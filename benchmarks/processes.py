"""What processes use, as the kernel counts it: CPU seconds and peak memory, by the part they play."""

import os
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

LOOK_EVERY_S = 0.05
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Role(StrEnum):
    """The part a process plays."""

    LAUNCHER = "launcher"
    """`batchmill run` itself, which takes the file in and writes the answers out."""
    WORKER = "worker"
    """The process that makes the calls."""
    WORKER_PARENT = "worker parent"
    """The one it was forked from, which talks to the broker."""
    BROKER = "broker"
    SANDBOX = "sandbox"
    DATABASE = "database server"
    """PostgreSQL with all its processes; SQLite has none."""
    UPKEEP = "database server's upkeep"
    """Of that server, what is done beside the queries: a part of `DATABASE`, not to be added to it."""


NOT_THEIRS = (Role.DATABASE, Role.SANDBOX)
UPKEEP_PROCESSES = tuple(
    f"postgres: {name}"
    for name in ("autovacuum", "checkpointer", "background writer", "walwriter", "io worker")
)


@dataclass(frozen=True, slots=True)
class _Stat:
    """`/proc/PID/stat`, as far as we read it."""

    parent: int
    cpu_s: float
    ended_children_cpu_s: float


@dataclass(slots=True)
class Watch:
    """Looks at processes ever and again, so what one does in its very last moment may be missed.

    Args:
        roots: Processes by pid; whatever these start is found below them.

    Attributes:
        peak_bytes: The largest resident set that a process of this role ever had.
        together_bytes: The most that all were seen to hold at one time, database server and sandbox left out; what
            forks share counts for each.
    """

    roots: Mapping[int, Role]
    together_bytes: int = 0
    peak_bytes: dict[Role, int] = field(default_factory=lambda: defaultdict(int))
    _parents: dict[int, int] = field(default_factory=dict)
    _known: dict[int, Role] = field(default_factory=dict)
    _cpu_s: dict[int, float] = field(default_factory=dict)
    _upkeep_s: dict[int, float] = field(default_factory=dict)
    _seen: list[tuple[float, dict[Role, float]]] = field(default_factory=list)

    def look(self) -> None:
        """Take note of what everyone has used by now."""
        self._search()
        together = 0
        for pid, role in self._known.items():
            if (stat := _stat(pid)) is not None:
                self._cpu_s[pid] = stat.cpu_s
                if pid in self.roots and role is Role.DATABASE:  # its backends come and go
                    self._cpu_s[pid] += stat.ended_children_cpu_s
                elif role is Role.DATABASE and command_of(pid)[0].startswith(UPKEEP_PROCESSES):
                    self._upkeep_s[pid] = stat.cpu_s
                self.peak_bytes[role] = max(self.peak_bytes[role], peak_bytes(pid))
                together += 0 if role in NOT_THEIRS else resident_bytes(pid)
            elif role is Role.DATABASE:  # its parent counts it from now on
                self._cpu_s.pop(pid, None)
        self.together_bytes = max(self.together_bytes, together)
        now: dict[Role, float] = defaultdict(float)
        for pid, cpu_s in self._cpu_s.items():
            now[self._known[pid]] += cpu_s
        now[Role.UPKEEP] = sum(self._upkeep_s.values())
        self._seen.append((time.time(), now))

    def cpu_s(self, role: Role, begin_s: float = 0.0, end_s: float = float("inf")) -> float:
        """CPU seconds that a role used between two moments, in seconds since 1970."""
        return self._at(role, end_s) - (self._at(role, begin_s) if begin_s else 0.0)

    def _at(self, role: Role, when_s: float) -> float:
        nth = bisect_left(self._seen, when_s, key=lambda seen: seen[0])
        return self._seen[min(nth, len(self._seen) - 1)][1].get(role, 0.0)

    def _search(self) -> None:
        self._parents = parents = {
            pid: parent for pid in _pids() if (parent := self._parents.get(pid) or _parent(pid)) is not None
        }
        for pid, parent in sorted(parents.items()):
            if pid in self.roots:
                self._known[pid] = self.roots[pid]
            elif _is_below(pid, self.roots, parents):
                self._known[pid] = _role_of(pid, self._known.get(parent))


@contextmanager
def watching(roots: Mapping[int, Role], look_every_s: float = LOOK_EVERY_S) -> Iterator[Watch]:
    """A watch for as long as the context lasts; it takes a share of a processor that grows with how often it looks."""
    watch, over = Watch(roots), threading.Event()

    def go_on() -> None:
        while not over.wait(look_every_s):
            watch.look()

    watch.look()
    watcher = threading.Thread(target=go_on, name="watch")
    watcher.start()
    try:
        yield watch
    finally:
        over.set()
        watcher.join()


def parent_of(pid: int) -> int:
    """The pid of a process's parent."""
    parent = _parent(pid)
    assert parent is not None, f"no process {pid}"
    return parent


def children_of(pid: int) -> list[int]:
    """The pids of a process's children."""
    return [child for child in _pids() if _parent(child) == pid]


def forget_peak(pid: int) -> None:
    """Let a process's peak begin anew at what it holds now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def resident_bytes(pid: int) -> int:
    """What a process holds now."""
    return _status_bytes(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """The most that it ever held, or since its peak was forgotten."""
    return _status_bytes(pid, "VmHWM:")


def command_of(pid: int) -> list[str]:
    """Its command line; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return [""]


def _role_of(pid: int, parent: Role | None) -> Role:
    if parent in (Role.DATABASE, Role.SANDBOX):
        return parent
    command = command_of(pid)
    if "worker" in command:
        return Role.WORKER if parent in (Role.WORKER_PARENT, Role.WORKER) else Role.WORKER_PARENT
    return Role.BROKER if "valkey" in command[0] else Role.LAUNCHER


def _is_below(pid: int, roots: Mapping[int, Role], parents: Mapping[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid in roots:
            return True
    return False


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _parent(pid: int) -> int | None:
    stat = _stat(pid)
    return stat.parent if stat else None


def _stat(pid: int) -> _Stat | None:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        own, ended = (sum(map(int, fields[first : first + 2])) / TICKS_A_SECOND for first in (11, 13))
        return _Stat(parent=int(fields[1]), cpu_s=own, ended_children_cpu_s=ended)
    return None


def _status_bytes(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
