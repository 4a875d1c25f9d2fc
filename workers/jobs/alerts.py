"""Alerts that are owed."""

from workers.alerts import deliver, make_channels
from workers.jobs.run import Detail, JobRun


def run(run: JobRun) -> Detail:
    """One round on every channel."""
    return {"is_all_delivered": deliver(run.database, make_channels(run.settings))}
