"""Tasks of the `maintenance` queue."""

from celery import shared_task

from workers import alerts, child, upkeep

SWEEP = "batchmill.sweep"
DELIVER_ALERTS = "batchmill.deliver_alerts"


@shared_task(name=SWEEP, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Put right what died half-way, and ring for whatever was missed. Safe to run at any time, twice."""
    upkeep.sweep_and_ring(child.current().duty.settings)


@shared_task(name=DELIVER_ALERTS, ignore_result=True)  # type: ignore[untyped-decorator]
def deliver_alerts() -> None:
    """Deliver the alerts that are owed. Safe to run at any time, twice: each has one deliverer at a time."""
    alerts.deliver_owed(child.current().duty.settings)
