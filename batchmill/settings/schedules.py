"""When what runs by itself is due."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator

from batchmill.settings.fields import Group, setting, whole
from batchmill.timetable import ACCEPTS, Timetable


class JobName(StrEnum):
    """What runs by itself; those further up go first where several are due."""

    SWEEP = "sweep"
    ALERTS = "alerts"
    HEALTH = "health"
    USAGE_REPORT = "usage-report"
    WEEKLY_REPORT = "weekly-report"
    CACHE_CLEANUP = "cache-cleanup"
    RETENTION = "retention"
    TRAINING_EXPORT = "training-export"


def _times(text: str) -> str:
    Timetable(text)
    return text


Times = Annotated[str, AfterValidator(_times)]


def _times_of(job: JobName, default: str, meaning: str) -> Any:
    variable = "BATCHMILL_AT_" + job.value.replace("-", "_").upper()
    return setting(default, variable, meaning=meaning, accepts=ACCEPTS)


class ScheduleSettings(Group):
    """What runs by itself, and when: by the calendar of BATCHMILL_TIMEZONE. Set the same everywhere."""

    sweep: Times = _times_of(JobName.SWEEP, "every 10s", "Put right what died half-way; end what is overdue.")
    alerts: Times = _times_of(JobName.ALERTS, "every 10s", "Deliver the alerts that are owed.")
    health: Times = _times_of(
        JobName.HEALTH, "every 5m", "Check providers, broker, database, beat, disk, queues."
    )
    usage_report: Times = _times_of(JobName.USAGE_REPORT, "0 2 * * *", "Mail the report of the day before.")
    weekly_report: Times = _times_of(JobName.WEEKLY_REPORT, "off", "Mail the report of the week before.")
    cache_cleanup: Times = _times_of(JobName.CACHE_CLEANUP, "0 * * * *", "Clean up the result cache.")
    retention: Times = _times_of(JobName.RETENTION, "15 3 * * *", "Remove what has been kept long enough.")
    training_export: Times = _times_of(
        JobName.TRAINING_EXPORT, "30 2 * * *", "Export training data, where answers are marked for it."
    )
    ring_s: int = whole(
        10, "BATCHMILL_BEAT_S", "How often beat rings for what is due, in seconds.", most=3_600
    )

    def of(self, job: JobName) -> Timetable:
        """When a job is due."""
        return Timetable(getattr(self, job.value.replace("-", "_")))
