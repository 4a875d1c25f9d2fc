"""Alerts that are owed, and mails of reports that could not be sent at once."""

from workers.alerts import deliver, make_channels
from workers.jobs.run import Detail, JobRun
from workers.reports.delivery import deliver_owed, post_of


def run(run: JobRun) -> Detail:
    """One round on every channel; then whatever mail of a report is due again."""
    is_all_delivered = deliver(run.database, make_channels(run.settings))
    post = post_of(run.settings.mail)
    reports = 0 if post is None else deliver_owed(run.database, post, checkpoint=run.checkpoint)
    return {"is_all_delivered": is_all_delivered, "report_mails": reports}
