"""Health checks."""

from batchmill.health.course import HealthLevel
from db import health_states
from db.engine import Transaction
from workers.health.checks import DISK
from workers.health.look import look
from workers.jobs.run import Detail, JobRun


def run(run: JobRun) -> Detail:
    """Look at every component, note what was seen, and let people be told of what has changed."""
    seen = look(run.settings, run.database)
    run.checkpoint()

    def note(tx: Transaction) -> dict[str, HealthLevel]:
        told = health_states.record(tx, run.due_ms, seen)
        health_states.forget(tx, [one.component for one in seen], of_other_machines=DISK)
        return told

    told = run.database.persist(note)
    by_level = {
        level.value: ", ".join(one.component for one in seen if one.level is level) for level in HealthLevel
    }
    return {
        HealthLevel.OK.value: sum(one.level is HealthLevel.OK for one in seen),
        **{
            name: components for name, components in by_level.items() if components and name != HealthLevel.OK
        },
        **({"told": ", ".join(told)} if told else {}),
    }
