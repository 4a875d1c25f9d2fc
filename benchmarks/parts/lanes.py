"""Part `lanes`: how soon an urgent request starts behind a large batch that is not, answered as fast as it can be."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.parts.beside import OURS
from benchmarks.parts.service import Running, serving
from benchmarks.peers.roster import CELERY
from benchmarks.peers.running import started, tolerated
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Provider, Stage
from benchmarks.store import Store
from benchmarks.workload import questions
from tests.support.mill import Sandbox, sandbox, wait_until

EVERY_S = 0.5
HIGH_MODEL = "gpt-4o"
"""Tells the urgent calls from the others, at the provider."""
PATIENCE_S = 60.0
P50, P99 = "{}: p50, ms", "{}: p99, ms"
TARGETS: Mapping[str, AtLeast | AtMost] = {P99.format(OURS[store]): AtMost(1_000) for store in Store}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Ours on each database, and Celery; an urgent one every half second, whether the one before has started or not."""
    for store in stage.sizes.stores:
        with sandbox(stage.empty_folder()) as provider:
            sent_s = _hand_in(stage, store, provider)
            yield Part.LANES, _samples(OURS[store], sent_s, provider)
    if stage.pythons.present([CELERY]):
        with tolerated(stage, Part.LANES, CELERY), sandbox(stage.empty_folder()) as provider:
            sent_s = _celery(stage, provider)
            yield Part.LANES, _samples(CELERY.name, sent_s, provider)


def _hand_in(stage: Stage, store: Store, sandbox: Sandbox) -> list[float]:
    """When each urgent batch, of a line, began to be uploaded."""
    provider = Provider(url=sandbox.url, pid=sandbox.process.pid)
    urgent = [_urgent(stage, nth) for nth in range(stage.sizes.urgent)]
    sent_s = []
    with serving(stage, store, provider, command="up") as running:
        path = stage.batch_file(stage.sizes.low_lines)
        low = running.client.create(running.send(path), priority="low")["id"]
        running.wait(low, ("in_progress",))
        for line in urgent:
            time.sleep(EVERY_S)
            sent_s.append(time.time())
            running.client.create(running.send(line), priority="high")
        wait_until(lambda: len(_arrived_s(sandbox)) >= len(urgent), PATIENCE_S)
        _require_busy(running, low)
    return sent_s


def _urgent(stage: Stage, nth: int) -> Path:
    path = stage.folder / f"urgent-{nth}.jsonl"
    path.write_text(json.dumps(_line(f"urgent-{nth}", next(questions(1)), f"{nth}")) + "\n")
    return path


def _line(name: str, body: dict[str, Any], text: str) -> dict[str, Any]:
    body |= {"model": HIGH_MODEL, "messages": [{"role": "user", "content": f"Urgent {text}"}]}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def _require_busy(running: Running, low: str) -> None:
    if running.client.batch(low)["status"] != "in_progress":
        raise BenchmarkError("the large batch came to its end before the last urgent request")


def _celery(stage: Stage, provider: Sandbox) -> list[float]:
    path = stage.folder / "lanes.jsonl"
    with path.open("wb") as file, stage.batch_file(stage.sizes.low_lines).open("rb") as low:
        file.writelines(low)
        for nth in range(stage.sizes.urgent):
            file.write(_urgent(stage, nth).read_bytes())
    with started(stage, CELERY, provider.url, path, program="celery_lanes") as running:
        told = running.told()
    if told is None:
        raise BenchmarkError("Celery did not come to its end")
    return list(told["sent_s"])


def _arrived_s(provider: Sandbox) -> list[float]:
    with provider.log.open() as log:
        return [json.loads(line)["time"] for line in log if f'"{HIGH_MODEL}"' in line]


def _samples(name: str, sent_s: Sequence[float], provider: Sandbox) -> Samples:
    """The first that arrives is the first that was sent: a lane is a queue."""
    arrived_s = _arrived_s(provider)
    if len(arrived_s) != len(sent_s):
        raise BenchmarkError(f"{name}: {len(arrived_s)} of {len(sent_s)} urgent calls arrived")
    waited_ms = [(at_s - begun_s) * 1_000 for begun_s, at_s in zip(sent_s, arrived_s, strict=True)]
    p99 = quantiles(waited_ms, n=100, method="inclusive")[-1]
    return {P50.format(name): median(waited_ms), P99.format(name): p99}
