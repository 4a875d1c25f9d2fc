"""What beat rings: one doorbell. What is due at a ring, and that nobody else is at it, stands in the database
(`workers/jobs/due.py`): two beats do no harm, and what was missed is made up for at the next ring."""

from datetime import timedelta
from typing import Any

from tasks.maintenance import RING_DUE
from workers.app import MAINTENANCE


def entries(ring_s: int) -> dict[str, dict[str, Any]]:
    """Celery beat's schedule: a ring every so many seconds. One that nobody heard in time is worthless."""
    every = timedelta(seconds=ring_s)
    return {
        "due": {"task": RING_DUE, "schedule": every, "options": {"queue": MAINTENANCE, "expires": ring_s}}
    }
