"""Tasks of the `maintenance` queue."""

from celery import shared_task

from workers import child, upkeep

SWEEP = "batchmill.sweep"


@shared_task(name=SWEEP, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Put right what died half-way, and ring for whatever was missed. Safe to run at any time, twice."""
    upkeep.sweep_and_ring(child.current().duty.settings)
