"""Deliveries of reports: once to each recipient, whoever is killed when.

Whoever delivers takes a delivery for the length of a lease, goes to the server, and writes down that it begins before
it hands the mail over. What is found so with its lease over is of somebody who was killed in between: nobody knows
whether the server has it, so it is not sent again by itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update

from batchmill.alerts.delivery import wait_ms
from batchmill.reports.delivery import GIVE_UP_AFTER_MS, KILLED, LEASE_MS, Delivery, DeliveryState
from db.engine import Transaction
from db.reports.store import delivery_of, insert_of
from db.tables import report_deliveries, reports, word

_d = report_deliveries.c
_is_pending = _d.state == word(DeliveryState.PENDING)
_is_sending = _d.state == word(DeliveryState.SENDING)
_TOO_OLD = "it could not be delivered in seven days"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A delivery that is ours for as long as its lease lasts.

    Attributes:
        tries: How often it has been taken, this time included; the fence of whoever is at it.
    """

    report_id: int
    name: str
    recipient: str
    message_id: str
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A delivery that came to nothing certain."""

    name: str
    recipient: str
    message_id: str
    state: DeliveryState


def owe(tx: Transaction, report_id: int, message_ids: Iterable[tuple[str, str]]) -> None:
    """Note that these recipients are to get a report, each with the Message-ID of its mail; those noted stay so."""
    for recipient, message_id in message_ids:
        owed = insert_of(tx)(report_deliveries).values(
            report_id=report_id,
            recipient=recipient,
            message_id=message_id,
            state=DeliveryState.PENDING.value,
            next_try_ms=tx.now_ms,
            since_ms=tx.now_ms,
        )
        tx.run(owed.on_conflict_do_nothing(index_elements=["report_id", "recipient"]))


def of_report(tx: Transaction, report_id: int) -> list[Delivery]:
    """The deliveries of a report."""
    wanted = select(report_deliveries).where(_d.report_id == report_id).order_by(_d.recipient)
    return [delivery_of(row) for row in tx.rows(wanted)]


def is_due(tx: Transaction) -> bool:
    """Whether anything is to be done; the cheap question before `flag_lost` and `take`."""
    is_over = and_(_is_sending, _d.lease_until_ms <= tx.now_ms)
    is_there = select(_d.report_id).where(is_over | _is_free(tx)).limit(1)
    return bool(tx.rows(is_there))


def flag_lost(tx: Transaction) -> list[Lost]:
    """Mark what was being handed over by somebody who is gone as unknown, and what is too old as given up."""
    lost = and_(_is_sending, _d.lease_until_ms <= tx.now_ms)
    made_long_ago = select(reports.c.id).where(reports.c.made_ms <= tx.now_ms - GIVE_UP_AFTER_MS)
    too_old = and_(_is_free(tx), _d.report_id.in_(made_long_ago))
    marked = [
        *_mark(tx, lost, DeliveryState.UNKNOWN, KILLED),
        *_mark(tx, too_old, DeliveryState.GIVEN_UP, _TOO_OLD),
    ]
    names = _names(tx, [row.report_id for row in marked])
    return [
        Lost(
            name=names[row.report_id],
            recipient=row.recipient,
            message_id=row.message_id,
            state=DeliveryState(row.state),
        )
        for row in marked
    ]


def take(tx: Transaction, report_id: int | None = None, recipient: str | None = None) -> Turn | None:
    """Take the next delivery that is due, of any report or of one, for as long as the lease lasts; None for none."""
    wanted = _is_free(tx)
    if report_id is not None:
        wanted = and_(wanted, _d.report_id == report_id)
    if recipient is not None:
        wanted = and_(wanted, _d.recipient == recipient)
    chosen = select(report_deliveries).where(wanted).order_by(_d.next_try_ms, _d.report_id, _d.recipient)
    for row in tx.rows(chosen.limit(1)):
        this = and_(_d.report_id == row.report_id, _d.recipient == row.recipient, wanted)
        taken = (
            update(report_deliveries)
            .where(this)
            .values(tries=_d.tries + 1, lease_until_ms=tx.now_ms + LEASE_MS)
        )
        for ours in tx.rows(taken.returning(_d.tries)):
            return Turn(
                report_id=row.report_id,
                name=_names(tx, [row.report_id])[row.report_id],
                recipient=row.recipient,
                message_id=row.message_id,
                tries=ours.tries,
            )
    return None


def begin(tx: Transaction, turn: Turn) -> bool:
    """Write down that the mail is being handed over from now on; whether it is still ours to do."""
    ours = and_(_of(turn), _is_pending, _d.lease_until_ms > tx.now_ms)
    values = {"state": DeliveryState.SENDING.value, "since_ms": tx.now_ms}
    return bool(
        tx.run(update(report_deliveries).where(ours).values(**values, lease_until_ms=tx.now_ms + LEASE_MS))
    )


def note_sent(tx: Transaction, turn: Turn) -> None:
    """The server has said that it took it; that counts also when it was taken for lost meanwhile."""
    was = _d.state.in_([DeliveryState.SENDING.value, DeliveryState.UNKNOWN.value])
    _note(tx, turn, was, DeliveryState.SENT, "")


def note_failed(tx: Transaction, turn: Turn, error: str) -> None:
    """The server does not have it: the next try comes after a while."""
    was = _d.state.in_([DeliveryState.PENDING.value, DeliveryState.SENDING.value])
    next_try_ms = tx.now_ms + wait_ms(turn.tries)
    _note(tx, turn, was, DeliveryState.PENDING, error, next_try_ms=next_try_ms)


def note_refused(tx: Transaction, turn: Turn, error: str) -> None:
    """The server will never take it: it is given up."""
    was = _d.state.in_([DeliveryState.PENDING.value, DeliveryState.SENDING.value])
    _note(tx, turn, was, DeliveryState.GIVEN_UP, error)


def note_unknown(tx: Transaction, turn: Turn, error: str) -> None:
    """Nobody knows whether the server has it."""
    _note(tx, turn, _is_sending, DeliveryState.UNKNOWN, error)


def reopen(tx: Transaction, report_id: int, recipients: Sequence[str]) -> list[str]:
    """Let these be sent once more, at once, by the wish of a person; those that somebody is not at just now."""
    is_free = and_(_d.report_id == report_id, _d.recipient.in_(recipients), _d.lease_until_ms <= tx.now_ms)
    values = {"state": DeliveryState.PENDING.value, "next_try_ms": tx.now_ms, "since_ms": tx.now_ms}
    reopened = update(report_deliveries).where(is_free).values(**values).returning(_d.recipient)
    return sorted(row.recipient for row in tx.rows(reopened))


def _note(
    tx: Transaction, turn: Turn, was: ColumnElement[bool], state: DeliveryState, error: str, **values: Any
) -> None:
    """Nothing is noted where another has taken over meanwhile."""
    tx.run(
        update(report_deliveries)
        .where(_of(turn), was)
        .values(state=state.value, since_ms=tx.now_ms, lease_until_ms=0, error=error, **values)
    )


def _mark(tx: Transaction, which: ColumnElement[bool], state: DeliveryState, error: str) -> Sequence[Any]:
    values = {"state": state.value, "since_ms": tx.now_ms, "lease_until_ms": 0, "error": error}
    marked = update(report_deliveries).where(which).values(values)
    return tx.rows(marked.returning(_d.report_id, _d.recipient, _d.message_id, _d.state))


def _names(tx: Transaction, ids: Sequence[int]) -> dict[int, str]:
    found = tx.rows(select(reports.c.id, reports.c.name).where(reports.c.id.in_(ids))) if ids else []
    return {row.id: row.name for row in found}


def _is_free(tx: Transaction) -> ColumnElement[bool]:
    return and_(_is_pending, _d.next_try_ms <= tx.now_ms, _d.lease_until_ms <= tx.now_ms)


def _of(turn: Turn) -> ColumnElement[bool]:
    return and_(_d.report_id == turn.report_id, _d.recipient == turn.recipient, _d.tries == turn.tries)
