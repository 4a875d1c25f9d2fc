"""Part `peers-quota`: one provider's limits from a cold start: how much of them each one uses, and what is refused."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Part, Samples
from benchmarks.parts.beside import OURS
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.running import started
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Stage
from benchmarks.store import Store
from benchmarks.workload import MODEL
from tests.support.mill import Mill, Sandbox, chat_line, sandbox, wait_until, write_lines

RPM, TPM = 600, 60_000
WORDS = (0, 0, 10, 20, 40, 80, 200, 400)
MAX_TOKENS = 40
LATENCY = "0.2-0.6"
START_S = 120.0
"""So long may one take to its first call."""


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """All at the same time, each with a provider of its own: ten calls a second are no burden."""
    path = _write_lines(stage)
    contenders: dict[str, Callable[[], Samples]] = {OURS[Store.SQLITE]: partial(_ours, stage, path)}
    for peer in stage.pythons.present(PEERS):
        if peer.has_limits:
            contenders[peer.name] = partial(_theirs, stage, peer, path)
    with ThreadPoolExecutor(len(contenders)) as pool:
        found = {name: pool.submit(measure) for name, measure in contenders.items()}
        for name, future in found.items():
            yield Part.PEERS_QUOTA, {f"{name}: {what}": value for what, value in future.result().items()}


def _write_lines(stage: Stage) -> Path:
    """More lines than the limits let through in that time, of ten to a few hundred tokens."""
    draw = random.Random(1)
    count = int(RPM / 60 * stage.sizes.quota_peers_s) + RPM
    lines = [
        chat_line(f"c{nth}", f"q{nth}" + " word" * draw.choice(WORDS), model=MODEL, max_tokens=MAX_TOKENS)
        for nth in range(count)
    ]
    return write_lines(stage.folder / "quota.jsonl", lines)


@contextmanager
def _provider(stage: Stage) -> Iterator[Sandbox]:
    limits = ("--rpm", str(RPM), "--tpm", str(TPM), "--latency", LATENCY)
    with sandbox(stage.empty_folder(), *limits) as provider:
        yield provider


def _ours(stage: Stage, path: Path) -> Samples:
    with _provider(stage) as provider:
        folder = stage.empty_folder()
        mill = Mill(folder=folder, environ={"OPENAI_BASE_URL": provider.url})
        try:
            limits = ("--rpm", str(RPM), "--tpm", str(TPM))
            done = mill("providers", "limit", "openai", "--model", MODEL, *limits)
            if done.returncode:
                raise BenchmarkError(done.stderr)
            process = mill.start("run", path, "-o", folder / "out.jsonl")
            used = _watched(stage, provider)
            process.send_signal(signal.SIGTERM)
            process.communicate()
        finally:
            mill.close()
    return used


def _theirs(stage: Stage, peer: Peer, path: Path) -> Samples:
    limits = ("--rpm", str(RPM), "--tpm", str(TPM))
    with _provider(stage) as provider, started(stage, peer, provider.url, path, *limits):
        return _watched(stage, provider)


def _watched(stage: Stage, provider: Sandbox) -> Samples:
    """What was let through and refused, from the first call on."""
    seconds = stage.sizes.quota_peers_s
    wait_until(lambda: bool(_counted(provider)), START_S)
    first_s = _counted(provider)[0]["time"]
    time.sleep(max(0.0, first_s + seconds - time.time()))
    calls = [call for call in _counted(provider) if call["time"] < first_s + seconds]
    answered = [call for call in calls if call["outcome"] == 200]
    tokens = sum(call["input_tokens"] + MAX_TOKENS for call in answered)
    tighter = max(len(answered) / RPM, tokens / TPM)
    return {
        "of the tighter limit used, %": tighter / (seconds / 60) * 100,
        "answered, calls": len(answered),
        "refused, calls": len(calls) - len(answered),
    }


def _counted(provider: Sandbox) -> list[dict[str, Any]]:
    """Calls that a provider counts: none that was no request at all."""
    return [call for call in provider.calls() if call["outcome"] in (200, 429)]
