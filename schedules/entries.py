"""What runs when. Beat only rings, and the sweep has one owner at a time in the database: two beats do no harm."""

from datetime import timedelta
from typing import Any

from tasks.maintenance import SWEEP
from workers.app import MAINTENANCE

SWEEP_EVERY = timedelta(seconds=10)


def entries() -> dict[str, dict[str, Any]]:
    """Celery beat's schedule."""
    # A ring that nobody heard in time is worthless: the next one follows.
    options = {"queue": MAINTENANCE, "expires": SWEEP_EVERY.total_seconds()}
    return {"sweep": {"task": SWEEP, "schedule": SWEEP_EVERY, "options": options}}
