"""Tasks of the `maintenance` queue."""

from celery import shared_task

from workers.jobs import duty

RING_DUE = "batchmill.ring_due"


@shared_task(name=RING_DUE, ignore_result=True)  # type: ignore[untyped-decorator]
def ring_due() -> str:
    """Ring for every job that is due. Safe to run at any time, twice."""
    return duty.ring_due()


@shared_task(name=duty.RUN_JOB, ignore_result=True)  # type: ignore[untyped-decorator]
def run_job(job: str, due: str) -> str:
    """Run a job if it is its turn.

    Safe to deliver twice, late or never: each due time of each job is run once, by one at a time. Other than in
    `run_requests` the arguments count.
    """
    return duty.run_job(job, due)
