"""Celery with Redis' priorities: all lines queued as low ones, and then a high one every half second.

Prints when each of those was handed in, in seconds since 1970. The last lines of the file are the high ones.
"""

import json
import os
import time

from benchmarks.peers.programs.batch import Order, read_order
from benchmarks.peers.programs.celery_queue import get_warm, worker

EVERY_S = 0.5
HIGH_MODEL = "gpt-4o"


def main(order: Order) -> None:
    """Low ones first, and the high ones while those are answered."""
    os.environ["CELERY_BROKER_URL"] = order.broker
    from benchmarks.peers.programs.celery_app import HIGH, LOW, QUEUE, app, ask

    sent_s = []
    with worker(order, prefetch=1):
        get_warm(order)
        high = []
        for name, body in order.lines():
            if body["model"] == HIGH_MODEL:
                high.append((name, body))
            else:
                ask.apply_async((name, body), queue=QUEUE, priority=LOW)
        app.control.add_consumer(QUEUE)
        for line in high:
            time.sleep(EVERY_S)
            sent_s.append(time.time())
            ask.apply_async(line, queue=QUEUE, priority=HIGH)
        time.sleep(2 * EVERY_S)
    print(json.dumps({"sent_s": sent_s}), flush=True)


if __name__ == "__main__":
    main(read_order())
