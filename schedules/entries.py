"""What runs when. Beat only rings, and what it rings for has one owner at a time in the database: two beats do no
harm."""

from datetime import timedelta
from typing import Any

from tasks.maintenance import DELIVER_ALERTS, SWEEP
from workers.app import MAINTENANCE

EVERY = timedelta(seconds=10)


def entries() -> dict[str, dict[str, Any]]:
    """Celery beat's schedule."""
    # A ring that nobody heard in time is worthless: the next one follows.
    options = {"queue": MAINTENANCE, "expires": EVERY.total_seconds()}
    tasks = {"sweep": SWEEP, "alerts": DELIVER_ALERTS}
    return {name: {"task": task, "schedule": EVERY, "options": options} for name, task in tasks.items()}
