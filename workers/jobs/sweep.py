"""The sweep."""

import os
import socket

import structlog

from batchmill.errors import BrokerError
from db import sweep
from workers.app import make_app
from workers.assembly import make_judge
from workers.doorbell import Doorbell
from workers.jobs.run import Detail, JobRun
from workers.upkeep import ring

log = structlog.get_logger()


def run(run: JobRun) -> Detail:
    """One sweep, then a ring for every lane that has claimable work; an embedded mill needs none to find it."""
    swept = sweep.sweep(run.database, make_judge(run.settings), owner=f"{socket.gethostname()}/{os.getpid()}")
    if swept is None:
        return {"swept_by": "another"}
    url = run.settings.broker.url
    if url is not None:
        try:
            ring(run.database, Doorbell(make_app(url, as_current=False)), swept.to_ring)
        except BrokerError as error:
            log.warning("doorbell_not_rung", error=error.message, hint=error.hint)
    return {"lost_claims": swept.lost_claims, "unknown_attempts": swept.unknown_attempts}
