"""Waits for a batch: asks how it is, at intervals that grow, and lives through a restart of the service."""

import time
from collections.abc import Callable
from typing import Any

from batchmill.client.asking import told
from batchmill.client.errors import BatchFailedError, ServiceUnreachableError, WaitTimeoutError
from batchmill.client.steps import Request, Sleep, Steps
from batchmill.client.views import FAILED, BatchView

FIRST_POLL_S = 0.1
POLL_S = 2.0
"""The longest time between two looks, where the producer says no other."""

PATIENCE_S = 120.0
"""So long may the service be away while a batch is waited for."""

Show = Callable[[BatchView, str], None]
"""Is shown the batch, and what stands in the way of looking at it: "" for nothing."""


def waited(
    raw: dict[str, Any],
    *,
    show: Show,
    max_retries: int,
    timeout_s: float | None = None,
    poll_s: float | None = None,
    patience_s: float = PATIENCE_S,
    now: Callable[[], float] = time.monotonic,
) -> Steps[dict[str, Any]]:
    """The batch once it has ended.

    Raises:
        BatchFailedError: It was not accepted.
        WaitTimeoutError: It has not ended in time.
        ServiceUnreachableError: The service is away for longer than is waited for it.
    """
    view = BatchView(raw)
    deadline = float("inf") if timeout_s is None else now() + timeout_s
    longest = POLL_S if poll_s is None else poll_s
    interval = min(FIRST_POLL_S, longest)
    last_seen = now()
    while not view.is_ended:
        if now() >= deadline:
            raise _timed_out(view, timeout_s or 0.0)
        yield Sleep(max(0.0, min(interval, deadline - now())))
        interval = min(longest, interval * 1.5)
        try:
            view = BatchView(
                (yield from told(Request(method="GET", path=f"/v1/batches/{view.id}"), max_retries))
            )
        except ServiceUnreachableError as error:
            if now() - last_seen > patience_s:
                raise
            show(view, error.message)
            continue
        last_seen = now()
        show(view, "")
    accepted(view)
    return view.raw


def accepted(view: BatchView) -> None:
    """Refuse a batch of which nothing was asked.

    Raises:
        BatchFailedError: It is one.
    """
    if view.status == FAILED:
        raise BatchFailedError(view.id, view.errors)


def _timed_out(view: BatchView, timeout_s: float) -> WaitTimeoutError:
    counts = view.counts
    return WaitTimeoutError(
        f"{view.id} is {view.status} after {timeout_s:g} s: {counts.ended:,} of {counts.total:,} requests have ended",
        "it goes on; wait for it again, or cancel it",
    )
