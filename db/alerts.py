"""Alerts and their deliveries: which channel still owes which, and who is at it.

A row of `alerts` is written once, by the transaction that gives cause. What becomes of it is in `alert_deliveries`,
one row a channel, made by the first who tries: a process without a mail server leaves the mail to those who have one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.alerts.alert import Alert, alert_of
from batchmill.alerts.delivery import GIVE_UP_AFTER_MS, LEASE_MS, ChannelName, DeliveryState, wait_ms
from batchmill.alerts.message import Topic
from db.engine import Transaction
from db.prepared import Prepared
from db.tables import alert_deliveries as deliveries
from db.tables import alerts, word

LOOKED_FOR_MS = 2 * GIVE_UP_AFTER_MS
"""An alert that no channel has tried until then is not looked for any more; it still stands in the list."""

_DIED_OVER_IT = "nobody noted how its last try ended"

_ONCE = ("topic", "subject", "kind", "occasion")


def _insert(dialect: str) -> Any:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    fired = insert(alerts).values({name: bindparam(name) for name in (*_ONCE, "at_ms", "facts")})
    return fired.on_conflict_do_nothing(index_elements=_ONCE)


_fire = Prepared(_insert)
_pending = deliveries.c.state == word(DeliveryState.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """An alert that a channel is to deliver now.

    Attributes:
        tries: How often it has been tried, this time included; also the fence of whoever tries.
        is_given_up: It is too old: it was marked so, and is not to be tried.
    """

    alert: Alert
    channel: ChannelName
    tries: int
    is_given_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far an alert has come on one channel.

    Attributes:
        error: Why the last try failed; once sent, what did not go as it should.
    """

    channel: ChannelName
    state: DeliveryState
    tries: int
    next_try_ms: int
    sent_ms: int | None
    error: str


def fire(
    tx: Transaction, topic: Topic, kind: str, *, subject: str, occasion: str, facts: Mapping[str, Any]
) -> None:
    """Let people be told, once of each occasion.

    Args:
        subject: What it is about: the row number of a budget, a component.
        facts: What the topic's alerts read, as of now.
    """
    told = orjson.dumps(facts).decode()
    of = {"topic": topic.value, "kind": str(kind), "subject": subject, "occasion": occasion}
    tx.run(_fire, **of, at_ms=tx.now_ms, facts=told)


def is_owed(tx: Transaction, channel: ChannelName, *, also_waiting: bool = False) -> bool:
    """Whether a channel has anything to deliver now; the cheap question before `claim`."""
    return _next(tx, channel, also_waiting) is not None


def claim(tx: Transaction, channel: ChannelName, *, also_waiting: bool = False) -> Owed | None:
    """Take the next alert that a channel owes, for as long as the lease lasts; None when there is none.

    Never tried ones come first, then those whose wait is over.

    Args:
        also_waiting: Those whose next try is still to come are owed, too.
    """
    while (row := _next(tx, channel, also_waiting)) is not None:
        is_given_up = row.at_ms <= tx.now_ms - GIVE_UP_AFTER_MS
        tries = _take(tx, row, channel, is_given_up)
        if tries is not None:
            return Owed(alert=_alert(row), channel=channel, tries=tries, is_given_up=is_given_up)
        # Another was faster. What it wrote is seen by the next look: each statement sees what is committed by then.
    return None


def note_sent(tx: Transaction, owed: Owed, remark: str = "") -> None:
    """It has arrived. Said by two, who did not know of each other, the first counts."""
    tx.run(
        update(deliveries)
        .where(_is(owed), deliveries.c.state != DeliveryState.SENT.value)
        .values(state=DeliveryState.SENT.value, sent_ms=tx.now_ms, lease_until_ms=0, error=remark)
    )


def note_failed(tx: Transaction, owed: Owed, error: str) -> None:
    """It has not; the next try comes after a while. Nothing is noted where another has taken over meanwhile."""
    tx.run(
        update(deliveries)
        .where(_is(owed), _pending, deliveries.c.tries == owed.tries)
        .values(next_try_ms=tx.now_ms + wait_ms(owed.tries), lease_until_ms=0, error=error)
    )


def listed(
    tx: Transaction, topic: Topic | None = None, *, subjects: Sequence[str] | None = None, most: int
) -> list[tuple[Alert, list[Delivery]]]:
    """The alerts that fired, newest first, each with its deliveries; of all topics or of one, of all or of these."""
    wanted = select(alerts).order_by(alerts.c.at_ms.desc(), alerts.c.id.desc()).limit(most)
    if topic is not None:
        wanted = wanted.where(alerts.c.topic == topic.value)
    if subjects is not None:
        wanted = wanted.where(alerts.c.subject.in_(subjects))
    found = [_alert(row) for row in tx.rows(wanted)]
    tried: dict[int, list[Delivery]] = {alert.id: [] for alert in found}
    asked = select(deliveries).where(deliveries.c.alert_id.in_(tried)).order_by(deliveries.c.channel)
    for row in tx.rows(asked):
        tried[row.alert_id].append(_delivery(row))
    return [(alert, tried[alert.id]) for alert in found]


def undelivered(tx: Transaction) -> Mapping[DeliveryState, int]:
    """Of the alerts of the last two weeks: how many deliveries have failed so far, and how many were given up."""
    counted = (
        select(deliveries.c.state, func.count().label("number"))
        .join(alerts, alerts.c.id == deliveries.c.alert_id)
        .where(alerts.c.at_ms > tx.now_ms - LOOKED_FOR_MS)
        .where(deliveries.c.state != DeliveryState.SENT.value, deliveries.c.error != "")
        .group_by(deliveries.c.state)
    )
    return {DeliveryState(row.state): row.number for row in tx.rows(counted)}


def _next(tx: Transaction, channel: ChannelName, also_waiting: bool) -> Row[Any] | None:
    for wanted in (_never_tried(tx, channel), _to_be_tried_again(tx, channel, also_waiting)):
        found: Sequence[Row[Any]] = tx.rows(wanted.limit(1))
        if found:
            return found[0]
    return None


def _never_tried(tx: Transaction, channel: ChannelName) -> Select[Any]:
    tried = select(1).where(deliveries.c.alert_id == alerts.c.id, deliveries.c.channel == channel.value)
    wanted = select(alerts).where(alerts.c.at_ms > tx.now_ms - LOOKED_FOR_MS, ~tried.exists())
    return wanted.order_by(alerts.c.at_ms, alerts.c.id)  # what one call crosses has one moment


def _to_be_tried_again(tx: Transaction, channel: ChannelName, also_waiting: bool) -> Select[Any]:
    wanted = select(alerts).join(deliveries, deliveries.c.alert_id == alerts.c.id).where(_free(tx, channel))
    if not also_waiting:
        wanted = wanted.where(deliveries.c.next_try_ms <= tx.now_ms)
    return wanted.order_by(deliveries.c.next_try_ms)


def _free(tx: Transaction, channel: ChannelName) -> ColumnElement[bool]:
    return and_(deliveries.c.channel == channel.value, _pending, deliveries.c.lease_until_ms <= tx.now_ms)


def _take(tx: Transaction, row: Row[Any], channel: ChannelName, is_given_up: bool) -> int | None:
    """How often it has been tried by now; None when another has it."""
    insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    taken: dict[str, Any] = {"lease_until_ms": tx.now_ms + LEASE_MS}
    if is_given_up:
        why = case((deliveries.c.error == "", _DIED_OVER_IT), else_=deliveries.c.error)
        taken = {"state": DeliveryState.GIVEN_UP.value, "error": why}
    first = {
        "alert_id": row.id,
        "channel": channel.value,
        "state": DeliveryState.PENDING.value,
        "tries": int(not is_given_up),
        "next_try_ms": tx.now_ms,
    }
    never_tried = {"error": "nobody tried it in time"} if is_given_up else {}
    taking = insert(deliveries).values(first | taken | never_tried)
    again = taken | {"tries": deliveries.c.tries + int(not is_given_up)}
    by_now = taking.on_conflict_do_update(
        index_elements=["alert_id", "channel"], set_=again, where=_free(tx, channel)
    )
    found = tx.rows(by_now.returning(deliveries.c.tries))
    return int(found[0].tries) if found else None


def _is(owed: Owed) -> ColumnElement[bool]:
    return and_(deliveries.c.alert_id == owed.alert.id, deliveries.c.channel == owed.channel.value)


def _alert(row: Row[Any]) -> Alert:
    return alert_of(
        row.topic,
        id_=row.id,
        kind=row.kind,
        at_ms=row.at_ms,
        subject=row.subject,
        facts=orjson.loads(row.facts),
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        channel=ChannelName(row.channel),
        state=DeliveryState(row.state),
        tries=row.tries,
        next_try_ms=row.next_try_ms,
        sent_ms=row.sent_ms,
        error=row.error,
    )
