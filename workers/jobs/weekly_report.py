"""The weekly report."""

from batchmill.reports.period import week_before
from workers.jobs.run import Detail, JobRun
from workers.reports.periodic import report


def run(run: JobRun) -> Detail:
    """Report the week, from Monday to Sunday, before the one in which it was due."""
    return report(run, week_before(run.due_ms, run.settings.budgets.timezone))
