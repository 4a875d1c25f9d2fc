"""Retention: what is over goes when it has been kept long enough."""

from workers.jobs.run import Detail, JobRun
from workers.retention import remove_old


def run(run: JobRun) -> Detail:
    """Remove it in short steps; stopped between two of them, the next run goes on from there."""
    return remove_old(run.settings, run.database, run.due_ms, run.checkpoint)
