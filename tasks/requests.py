"""The doorbell's task."""

from celery import shared_task

from workers import child
from workers.doorbell import RUN_REQUESTS


@shared_task(name=RUN_REQUESTS, ignore_result=True)  # type: ignore[untyped-decorator]
def run_requests(lane: str, batch: str) -> str:
    """Answer requests until none is claimable; how many, for people who watch.

    Safe to deliver twice, late or never. The arguments are labels for people who watch: what is claimed is
    decided anew with each claim, by what is fair at that moment.
    """
    return child.current().answer_requests()
