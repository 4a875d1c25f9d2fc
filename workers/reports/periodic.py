"""The reports that come by themselves: made once a period, then delivered."""

from batchmill.reports.delivery import DeliveryState
from batchmill.reports.period import ReportPeriod
from batchmill.reports.verdict import verdict_of
from db.reports import deliveries, store
from db.reports.store import StoredReport
from workers.jobs.run import Detail, JobRun
from workers.reports.delivery import addresses_of, deliver_owed, flag_lost, owe, post_of
from workers.reports.gathering import make_report


def report(run: JobRun, period: ReportPeriod) -> Detail:
    """Make the report of a period, unless it has been made, and deliver what is owed; what came of it.

    Safe to be run again whenever it was killed: what was made stays as it is, who has been sent it gets no second one.
    """
    flag_lost(run.database)  # before it is made: it says so
    stored = _made(run, period)
    detail: dict[str, object] = {"report": period.name, "verdict": verdict_of(stored.report)}
    mail = run.settings.mail
    post = post_of(mail)
    if post is None or not mail.recipients:
        missing = mail.missing or "SMTP_URL and ADMIN_EMAILS"
        return detail | {"mail": f"none is sent: {missing} not set"}
    recipients = addresses_of(mail.recipients)
    run.database.persist(lambda tx: owe(tx, stored, recipients, post))
    deliver_owed(run.database, post, checkpoint=run.checkpoint)
    return detail | _came_of_it(run, stored)


def _made(run: JobRun, period: ReportPeriod) -> StoredReport:
    with run.database.read() as tx:
        stored = store.find(tx, period)
    if stored is not None:
        return stored
    made = make_report(run.database, run.settings, period, checkpoint=run.checkpoint)
    return run.database.persist(lambda tx: store.keep(tx, made))


def _came_of_it(run: JobRun, stored: StoredReport) -> dict[str, object]:
    """By state: how many mails of this report are in it."""
    with run.database.read() as tx:
        states = [delivery.state for delivery in deliveries.of_report(tx, stored.id)]
    return {state.value: states.count(state) for state in DeliveryState if state in states}
