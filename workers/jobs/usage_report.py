"""The nightly report."""

from batchmill.reports.period import day_before
from workers.jobs.run import Detail, JobRun
from workers.reports.periodic import report


def run(run: JobRun) -> Detail:
    """Report the calendar day before the one on which it was due, however late it runs."""
    return report(run, day_before(run.due_ms, run.settings.budgets.timezone))
