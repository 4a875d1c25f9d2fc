"""Part `rivals`: the same calls to the same sandbox by a bare SDK loop, and by one Celery task a request."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure, Part, Samples
from benchmarks.processes import Role, watching
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Provider, Stage
from benchmarks.store import Store
from benchmarks.workload import questions

ROOT = Path(__file__).parents[2]
SDK, CELERY = "bare AsyncOpenAI loop", "one Celery task a request"
OURS = (Role.LAUNCHER, Role.WORKER, Role.WORKER_PARENT)
"""What stands where a rival's processes stand; neither of us counts broker and sandbox."""
PROCESSES = 2
WARM_UP_CALLS = 64
WAIT_S = 120.0
_CPU = "ms CPU a request"


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One round of each."""
    yield Part.RIVALS, _sdk_loop(stage.provider(), stage.sizes.rival_calls) | _celery(stage)


def ratios(figures: Sequence[Figure]) -> list[Figure]:
    """How the others compare with batchmill, where both have been measured: their processes with all of ours."""
    found = {(figure.part, figure.name, figure.unit): figure.value for figure in figures}
    rows = []
    for store in Store:
        our_pace = found.get((Part.UNIQUE, f"{store}: answered", "req/s"))
        our_cpu = [found.get((Part.UNIQUE, f"{store}: {role}", _CPU)) for role in OURS]
        for rival in (SDK, CELERY):
            their_pace = found.get((Part.RIVALS, f"{rival}: answered", "req/s"))
            their_cpu = found.get((Part.RIVALS, rival, _CPU))
            if their_cpu and all(our_cpu):
                total = sum(value for value in our_cpu if value)
                rows.append(
                    _ratio(f"{rival} against {store}: CPU a request, in times of ours", their_cpu / total)
                )
            if our_pace and their_pace:
                name = f"{rival} against {store}: requests a second of ours, in times of theirs"
                rows.append(_ratio(name, our_pace / their_pace))
    return rows


def _ratio(name: str, value: float) -> Figure:
    return Figure(part=Part.RIVALS, name=name, unit="x", samples=(value,))


def _sdk_loop(provider: Provider, calls: int) -> dict[str, float]:
    with tempfile.NamedTemporaryFile() as output:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.rivals.sdk_loop", provider.url, str(calls), output.name],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise BenchmarkError(f"the SDK loop failed: {done.stderr[-2000:]}")
    took = json.loads(done.stdout)
    return {
        f"{SDK}: answered, req/s": calls / took["s"],
        f"{SDK}, ms CPU a request": took["cpu_s"] / calls * 1000,
    }


def _celery(stage: Stage) -> dict[str, float]:
    """The worker has answered questions already; every task is queued; then it is let loose."""
    from benchmarks.rivals.celery_app import QUEUE, WARM_UP, app, ask

    provider, calls = stage.provider(), stage.sizes.rival_calls
    app.conf.broker_url = stage.valkey_url
    with _celery_worker(stage, provider) as worker:
        cold = provider.calls()
        for body in questions(WARM_UP_CALLS):
            ask.apply_async((body,), queue=WARM_UP)
        _wait_until(lambda: provider.calls() - cold >= WARM_UP_CALLS, "the Celery worker did not start")
        cpu_begun = time.process_time()
        for body in questions(calls):
            ask.apply_async((body,), queue=QUEUE)
        enqueued_s = time.process_time() - cpu_begun
        before = provider.calls()
        with watching({worker.pid: Role.WORKER_PARENT}) as watch:
            begun = time.time()
            app.control.add_consumer(QUEUE)
            _wait_until(lambda: provider.calls() - before >= calls, "the Celery worker did not get through")
            took_s = time.time() - begun
        used_s = sum(watch.cpu_s(role, begun, begun + took_s) for role in (Role.WORKER_PARENT, Role.WORKER))
    return {
        f"{CELERY}: answered, req/s": calls / took_s,
        f"{CELERY}, ms CPU a request": used_s / calls * 1000,
        f"{CELERY}: queueing it beforehand, ms CPU a request": enqueued_s / calls * 1000,
    }


@contextmanager
def _celery_worker(stage: Stage, provider: Provider) -> Iterator[subprocess.Popen[bytes]]:
    from benchmarks.rivals.celery_app import WARM_UP

    options = (
        "--pool",
        "prefork",
        "--concurrency",
        str(PROCESSES),
        "--queues",
        WARM_UP,
        "--loglevel",
        "ERROR",
    )
    environ = {"CELERY_BROKER_URL": stage.valkey_url, "OPENAI_BASE_URL": provider.url}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "benchmarks.rivals.celery_app", "worker"),
            *(*options, "--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        cwd=ROOT,
        env=os.environ | environ | {"ANSWERS_FOLDER": str(stage.folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)


def _wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(otherwise)
        time.sleep(0.05)
