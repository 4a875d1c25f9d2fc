"""Alerts: each reaches each channel once, whoever delivers, whatever fails, or is said to have been given up."""

import threading
from dataclasses import dataclass, field

import pytest

from batchmill.alerts.budget import BudgetEvent
from batchmill.alerts.delivery import GIVE_UP_AFTER_MS, LEASE_MS, Channel, ChannelName, DeliveryState
from batchmill.alerts.message import Message, Topic
from batchmill.budgets.model import Period, Scope
from batchmill.errors import DeliveryError
from db import alerts
from db.alerts import Delivery, Owed
from db.engine import Database
from tests.support.budgets import add_budget, fire
from tests.support.clocks import PATIENCE_S, FakeClock
from workers.alerts import deliver, deliver_on

MAIL, WEBHOOK = ChannelName.MAIL, ChannelName.WEBHOOK
SECOND_MS, DAY_MS = 1_000, 86_400_000


@dataclass(slots=True, kw_only=True)
class Inbox:
    """A channel that keeps what it gets; down, it refuses everything.

    Attributes:
        waits_for: Nothing arrives before something has arrived there.
    """

    name: ChannelName = MAIL
    target: str = "a list"
    is_down: bool = False
    remark: str = ""
    got: list[str] = field(default_factory=list)
    tried: int = 0
    has_some: threading.Event = field(default_factory=threading.Event)
    waits_for: "Inbox | None" = None

    async def send(self, message: Message) -> str:
        """Keep it."""
        self.tried += 1
        is_slow = self.waits_for is not None and not self.waits_for.has_some.wait(PATIENCE_S)
        if self.is_down or is_slow:
            raise DeliveryError("nobody is there")
        self.got.append(message.id)
        self.has_some.set()
        return self.remark


@pytest.fixture
def budget(database: Database) -> int:
    """A tenant's daily budget of $5."""
    return add_budget(database, 5_000_000_000, scope=Scope.TENANT, name="acme", period=Period.DAY)


def claim(database: Database, channel: ChannelName = MAIL) -> Owed | None:
    with database.write() as tx:
        return alerts.claim(tx, channel)


def deliveries_of(database: Database) -> list[Delivery]:
    """Those of the newest alert."""
    with database.read() as tx:
        [(_, deliveries), *_] = alerts.listed(tx, most=1)
    return deliveries


def test_an_alert_is_told_whole(database: Database, budget: int, clock: FakeClock) -> None:
    """What is claimed has all that its text needs: the budget, the period, the amounts of that moment."""
    fire(database, budget, "90")
    owed = claim(database)
    assert owed is not None
    assert owed.alert.verdict == "90 % of the daily budget of tenant acme used: $4.51 of $5.00"
    assert (owed.alert.kind, owed.alert.at_ms) == (BudgetEvent.THRESHOLD, clock.now_ms())
    assert owed.alert.start_ms <= clock.now_ms() < (owed.alert.end_ms or 0)


def test_each_alert_once_on_each_channel(database: Database, budget: int) -> None:
    """However often is looked, on every channel each alert arrives once, in the order in which they fired."""
    mail, webhook = Inbox(), Inbox(name=WEBHOOK)
    for detail in ("75", "90"):
        fire(database, budget, detail)
    for _ in range(3):
        assert deliver(database, [mail, webhook])
    assert len(set(mail.got)) == 2
    assert mail.got == webhook.got == sorted(mail.got)


def test_what_one_call_crosses_is_told_in_order(database: Database, budget: int) -> None:
    """Alerts of one moment arrive as they fired, wherever the database found room for their rows."""
    mail = Inbox()
    for number in (3, 1, 2):
        fire(database, budget, str(number), id=number)
    assert deliver(database, [mail])
    assert [name.split("-")[2] for name in mail.got] == ["1", "2", "3"]


def test_a_channel_that_nobody_has_keeps_its_alerts(database: Database, budget: int) -> None:
    """A process without a mail server leaves the mail to one that has it."""
    mail, webhook = Inbox(), Inbox(name=WEBHOOK)
    fire(database, budget)
    deliver(database, [webhook])
    assert [one.channel for one in deliveries_of(database)] == [WEBHOOK]
    deliver(database, [webhook, mail])
    assert (len(mail.got), len(webhook.got)) == (1, 1)


def test_a_claimed_alert_is_nobody_else_s(database: Database, budget: int, clock: FakeClock) -> None:
    """Until the lease runs out nobody else gets it; then it is tried again under the same id."""
    fire(database, budget)
    first = claim(database)
    clock.advance(LEASE_MS - 1)
    assert claim(database) is None
    clock.advance(1)
    again = claim(database)
    assert first is not None
    assert again is not None
    assert (first.alert, first.tries, again.tries) == (again.alert, 1, 2)


def test_killed_between_sending_and_noting_it(database: Database, budget: int, clock: FakeClock) -> None:
    """At least once: it is sent again when the lease has run out, and not a third time."""
    mail = Inbox()
    fire(database, budget)
    claim(database)  # whoever has it sends it, and dies
    assert deliver(database, [mail])
    assert mail.got == []
    clock.advance(LEASE_MS)
    for _ in range(3):
        deliver(database, [mail])
    assert len(mail.got) == 1
    assert [(one.state, one.tries) for one in deliveries_of(database)] == [(DeliveryState.SENT, 2)]


@pytest.mark.parametrize("deliverers", [2, 4])
def test_deliverers_at_the_same_time(database: Database, budget: int, deliverers: int) -> None:
    """However many deliver at once, each alert is sent once."""
    for detail in range(1, 21):
        fire(database, budget, str(detail))
    mails = [Inbox() for _ in range(deliverers)]
    begin = threading.Barrier(deliverers)

    def work(mail: Channel) -> None:
        begin.wait(PATIENCE_S)
        deliver(database, [mail])

    threads = [threading.Thread(target=work, args=[mail]) for mail in mails]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    sent = [id_ for mail in mails for id_ in mail.got]
    assert len(sent) == len(set(sent)) == 20


def test_what_fails_waits_longer_each_time(database: Database, budget: int, clock: FakeClock) -> None:
    """10 s, then 20 s, and not before; the reason stands beside it until it has arrived."""
    mail = Inbox(is_down=True)
    fire(database, budget)
    for wait_s, tries in ((10, 1), (20, 2)):
        assert not deliver(database, [mail])
        clock.advance(wait_s * SECOND_MS - 1)
        assert deliver(database, [mail])  # nothing is owed yet
        assert mail.tried == tries
        clock.advance(1)
    [waiting] = deliveries_of(database)
    assert (waiting.state, waiting.error) == (DeliveryState.PENDING, "nobody is there")
    mail.is_down = False
    assert deliver(database, [mail])
    [sent] = deliveries_of(database)
    assert (sent.state, sent.error, sent.sent_ms, sent.tries) == (DeliveryState.SENT, "", clock.now_ms(), 3)
    assert len(mail.got) == 1


def test_the_last_try_does_not_wait(database: Database, budget: int) -> None:
    """A command that ends tries once more what would have waited."""
    mail = Inbox(is_down=True)
    fire(database, budget)
    deliver(database, [mail])
    mail.is_down = False
    assert deliver_on(database, mail, also_waiting=True)
    assert len(mail.got) == 1


def test_a_dead_server_is_asked_once_a_round(database: Database, budget: int) -> None:
    """A failure ends the channel's round, not that of the others; the next round begins with what was not tried."""
    mail, webhook = Inbox(is_down=True), Inbox(name=WEBHOOK)
    for detail in ("75", "90", "100"):
        fire(database, budget, detail)
    assert not deliver(database, [mail, webhook])
    assert (mail.tried, len(webhook.got)) == (1, 3)
    mail.is_down = False
    assert deliver(database, [mail])
    assert len(mail.got) == 2


def test_a_slow_channel_keeps_no_other_waiting(database: Database, budget: int) -> None:
    """However long one takes for its first alert, the others deliver theirs meanwhile, wherever it stands."""
    webhook = Inbox(name=WEBHOOK)
    mail = Inbox(waits_for=webhook)
    fire(database, budget)
    assert deliver(database, [mail, webhook])
    assert (len(mail.got), len(webhook.got)) == (1, 1)


def test_an_alert_that_cannot_be_told_keeps_none_back(database: Database, budget: int) -> None:
    """What this machine cannot even put into words is noted as a failure; the next round tells the others."""
    mail = Inbox()
    lost = add_budget(database, 1, scope=Scope.TENANT, name="lost", zone="Atlantis/Nowhere")
    fire(database, lost, "90")
    fire(database, budget, "90")
    assert not deliver(database, [mail])
    assert deliver(database, [mail])
    assert len(mail.got) == 1
    with database.read() as tx:
        assert alerts.undelivered(tx) == {DeliveryState.PENDING: 1}


def test_after_seven_days_it_is_given_up(database: Database, budget: int, clock: FakeClock) -> None:
    """What could not be sent in a week is not tried any more, and stands in the list as given up, with the reason."""
    mail = Inbox(is_down=True)
    fire(database, budget)
    deliver(database, [mail])
    clock.advance(GIVE_UP_AFTER_MS)
    mail.is_down = False
    assert deliver(database, [mail])
    assert mail.got == []
    [given_up] = deliveries_of(database)
    assert (given_up.state, given_up.error, given_up.tries) == (DeliveryState.GIVEN_UP, "nobody is there", 1)
    with database.read() as tx:
        assert alerts.undelivered(tx) == {DeliveryState.GIVEN_UP: 1}
    assert claim(database) is None


def test_given_up_without_a_reason(database: Database, budget: int, clock: FakeClock) -> None:
    """Whoever tried it last died over it, and nobody came for a week: it is told as given up like any other."""
    fire(database, budget)
    claim(database)
    clock.advance(GIVE_UP_AFTER_MS)
    assert deliver(database, [Inbox()])
    [given_up] = deliveries_of(database)
    assert (given_up.state, given_up.tries) == (DeliveryState.GIVEN_UP, 1)
    assert given_up.error == "nobody noted how its last try ended"
    with database.read() as tx:
        assert alerts.undelivered(tx) == {DeliveryState.GIVEN_UP: 1}


def test_nobody_was_there_for_a_week(database: Database, budget: int, clock: FakeClock) -> None:
    """An alert that nobody tried in time is given up, too, and said; one of a day ago is still sent."""
    mail = Inbox()
    fire(database, budget, "75")
    clock.advance(GIVE_UP_AFTER_MS - DAY_MS)
    fire(database, budget, "90")
    clock.advance(DAY_MS)
    assert deliver(database, [mail])
    assert len(mail.got) == 1
    with database.read() as tx:
        states = [[one.state for one in tried] for _, tried in alerts.listed(tx, most=9)]
    assert states == [[DeliveryState.SENT], [DeliveryState.GIVEN_UP]]


def test_an_old_holder_spoils_nothing(database: Database, budget: int, clock: FakeClock) -> None:
    """Who comes back after its lease cannot note a failure over another's try, nor anything over a success."""
    fire(database, budget)
    late = claim(database)
    clock.advance(LEASE_MS)
    holder = claim(database)
    assert late is not None
    assert holder is not None
    with database.write() as tx:
        alerts.note_failed(tx, late, "too late")
    assert [one.error for one in deliveries_of(database)] == [""]
    assert claim(database) is None  # the holder still has it
    with database.write() as tx:
        alerts.note_sent(tx, holder)
        alerts.note_failed(tx, holder, "too late")
    clock.advance(SECOND_MS)
    with database.write() as tx:
        alerts.note_sent(tx, late)
    [sent] = deliveries_of(database)
    assert (sent.state, sent.error, sent.sent_ms) == (DeliveryState.SENT, "", clock.now_ms() - SECOND_MS)


def test_what_is_to_be_said_of_a_success_is_kept(database: Database, budget: int) -> None:
    """Delivered, but not to everybody: who did not get it stands beside it, and nobody is written to twice."""
    mail = Inbox(remark="b@acme.test was refused")
    fire(database, budget)
    assert deliver(database, [mail])
    assert deliver_on(database, mail, also_waiting=True)
    [sent] = deliveries_of(database)
    assert (sent.state, sent.error, len(mail.got)) == (DeliveryState.SENT, "b@acme.test was refused", 1)
    with database.read() as tx:
        assert alerts.undelivered(tx) == {}


def test_the_list_is_newest_first(database: Database, budget: int, clock: FakeClock) -> None:
    """As many as asked for, of all budgets or of some."""
    other = add_budget(database, 1_000, scope=Scope.TENANT, name="other")
    for budget_id, detail in ((budget, "75"), (other, "75"), (budget, "90")):
        fire(database, budget_id, detail)
        clock.advance(SECOND_MS)
    with database.read() as tx:
        assert [(one.budget.name, one.detail) for one, _ in alerts.listed(tx, most=2)] == [
            ("acme", "90"),
            ("other", "75"),
        ]
        of_one = alerts.listed(tx, Topic.BUDGET, subjects=[str(budget)], most=9)
        assert [one.detail for one, _ in of_one] == ["90", "75"]
