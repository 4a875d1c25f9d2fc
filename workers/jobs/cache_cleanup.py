"""The clean-up of the cache."""

from workers.cache_upkeep import clean_up, room_of
from workers.jobs.run import Detail, JobRun


def run(run: JobRun) -> Detail:
    """What has expired goes, then what is worth least; what was dropped before a stop is not there for the next try."""
    done = clean_up(run.database, room_of(run.settings), tell=lambda stage: run.checkpoint())
    return {
        "expired": done.expired.entries,
        "dropped_by_worth": done.fitted.gone.entries,
        "freed_bytes": done.freed.answer_bytes,
        "entries": done.left.entries,
        "answer_bytes": done.left.answer_bytes,
        "longest_step_ms": round(done.longest_step_s * 1000),
    }
