"""Celery, one task a request: every line is queued, then the worker is let loose on the queue.

Prefork with two processes, or, where calls have to wait, a pool of as many threads as calls are to be in flight.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.programs.batch import Order, read_order, tell

PROCESSES = 2
MOST_WITHOUT_THREADS = 64
WAIT_S = 900.0
LOOK_EVERY_S = 0.05
OPTIONS = ("--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")


@contextmanager
def worker(order: Order, *, prefetch: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A worker on the queue that gets it warm."""
    from benchmarks.peers.programs.celery_app import WARM_UP

    threads = order.in_flight > MOST_WITHOUT_THREADS
    pool = ("threads", str(order.in_flight)) if threads else ("prefork", str(PROCESSES))
    environ = {"OPENAI_BASE_URL": order.url, "ANSWERS_FOLDER": str(order.folder)}
    prefetch = prefetch or (1 if threads else 32)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "benchmarks.peers.programs.celery_app", "worker"),
            *("--pool", pool[0], "--concurrency", pool[1], "--queues", WARM_UP, *OPTIONS),
        ],
        env=os.environ | environ | {"CELERY_PREFETCH": str(prefetch)},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the worker did not get through")
        time.sleep(LOOK_EVERY_S)


def get_warm(order: Order) -> int:
    """Have some questions answered; how many."""
    from benchmarks.peers.programs.celery_app import WARM_UP, ask

    bodies = order.warm_up()
    for nth, body in enumerate(bodies):
        ask.apply_async((f"warm-up-{nth}", body), queue=WARM_UP)
    answers = Answers(order.folder)
    wait_until(lambda: answers.count() >= len(bodies))
    return len(bodies)


class Answers:
    """The answers' files, of which only what is new is read."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seen, self._lines = folder, dict[Path, int](), 0

    def count(self) -> int:
        """How many answers have been written by now."""
        for path in self._folder.glob("answers-*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._seen.get(path, 0))
                new = file.read()
            self._seen[path] = self._seen.get(path, 0) + len(new)
            self._lines += new.count(b"\n")
        return self._lines


def main(order: Order) -> None:
    """Queue all of it first: what is told is the answering alone."""
    os.environ["CELERY_BROKER_URL"] = order.broker
    from benchmarks.peers.programs.celery_app import QUEUE, app, ask

    with worker(order):
        queued = get_warm(order)
        for name, body in order.lines():
            ask.apply_async((name, body), queue=QUEUE)
            queued += 1
        answers = Answers(order.folder)
        begun_s = time.time()
        app.control.add_consumer(QUEUE)
        wait_until(lambda: answers.count() >= queued)
        ended_s = time.time()
    with order.output.open("wb") as output:
        for path in sorted(order.folder.glob("answers-*.jsonl")):
            output.writelines(line for line in path.open("rb") if b'"warm-up-' not in line)
    tell(begun_s, ended_s)


if __name__ == "__main__":
    main(read_order())
