"""Webhooks: which batches' producers are still to be told how it ended, and who is at it.

One row a batch, made with it. Whoever tells takes a row for the length of a lease; how often it was tried is the fence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, case, insert, select, update

from batchmill.alerts.delivery import wait_ms
from db.bulk import INT
from db.engine import Transaction
from db.prepared import Prepared
from db.tables import webhooks, word

LEASE_MS: Final = 60_000
"""How long a try keeps others from the same; longer than it lasts, so that only a dead one is taken over."""

GIVE_UP_AFTER_MS: Final = 86_400_000
"""A batch that ended so long ago is not told of any more; that is said."""


class WebhookState(StrEnum):
    """How far a webhook has come."""

    WAITING = "waiting"
    PENDING = "pending"
    SENT = "sent"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A webhook that is to be delivered now.

    Attributes:
        due_ms: When its batch ended.
        tries: How often it has been tried, this time included; also the fence of whoever tries.
        is_given_up: It is too old: it was marked so, and is not to be tried.
    """

    batch_id: int
    url: str
    due_ms: int
    tries: int
    is_given_up: bool = False


_is_this = webhooks.c.batch_id == bindparam("batch", type_=INT)
_pending = webhooks.c.state == word(WebhookState.PENDING)
_due = Prepared(
    update(webhooks)
    .where(_is_this, webhooks.c.state == word(WebhookState.WAITING))
    .values(
        state=word(WebhookState.PENDING),
        due_ms=bindparam("at_ms", type_=INT),
        next_try_ms=bindparam("at_ms", type_=INT),
    )
)


def owe(tx: Transaction, batch: int, url: str) -> None:
    """A batch that is made in this transaction owes its producer a webhook."""
    tx.run(insert(webhooks).values(batch_id=batch, url=url, state=WebhookState.WAITING.value))


def due(tx: Transaction, batch: int) -> None:
    """A batch ends with this transaction: if it owes a webhook, that is due from now on."""
    tx.run(_due, batch=batch, at_ms=tx.now_ms)


def of(tx: Transaction, batches: Sequence[int]) -> Mapping[int, Any]:
    """The webhooks of these batches, as far as they owe any, by batch: rows of the table."""
    if not batches:
        return {}
    return {
        row.batch_id: row for row in tx.rows(select(webhooks).where(webhooks.c.batch_id.in_(list(batches))))
    }


def is_owed(tx: Transaction) -> bool:
    """Whether any is to be delivered now; the cheap question before `claim`."""
    return bool(tx.rows(select(webhooks.c.batch_id).where(_free(tx)).limit(1)))


def claim(tx: Transaction, most: int) -> list[Owed]:
    """Take up to so many that are to be delivered now, for as long as the lease lasts, the longest due first."""
    found = tx.rows(select(webhooks).where(_free(tx)).order_by(webhooks.c.next_try_ms).limit(most))
    taken = (_take(tx, row) for row in sorted(found, key=lambda row: row.batch_id))
    return [owed for owed in taken if owed is not None]


def note_sent(tx: Transaction, owed: Owed) -> None:
    """It has arrived, whoever else is at it."""
    tx.run(
        update(webhooks)
        .where(webhooks.c.batch_id == owed.batch_id, webhooks.c.state != WebhookState.SENT.value)
        .values(state=WebhookState.SENT.value, sent_ms=tx.now_ms, lease_until_ms=0, error="")
    )


def note_failed(tx: Transaction, owed: Owed, error: str) -> None:
    """It has not; the next try comes after a while. Nothing is noted where another has taken over meanwhile."""
    tx.run(
        update(webhooks)
        .where(webhooks.c.batch_id == owed.batch_id, _pending, webhooks.c.tries == owed.tries)
        .values(next_try_ms=tx.now_ms + wait_ms(owed.tries), lease_until_ms=0, error=error)
    )


def _free(tx: Transaction) -> ColumnElement[bool]:
    return and_(_pending, webhooks.c.next_try_ms <= tx.now_ms, webhooks.c.lease_until_ms <= tx.now_ms)


def _take(tx: Transaction, row: Any) -> Owed | None:
    """The row, taken; None when another has it: the condition counts as of now, not as of the look."""
    is_given_up = row.due_ms <= tx.now_ms - GIVE_UP_AFTER_MS
    taking: dict[str, Any] = {"lease_until_ms": tx.now_ms + LEASE_MS, "tries": webhooks.c.tries + 1}
    if is_given_up:
        why = case((webhooks.c.error == "", "nobody tried it in time"), else_=webhooks.c.error)
        taking = {"state": WebhookState.GIVEN_UP.value, "error": why}
    taken = tx.rows(
        update(webhooks)
        .where(webhooks.c.batch_id == row.batch_id, _free(tx))
        .values(taking)
        .returning(webhooks.c.tries)
    )
    if not taken:
        return None
    return Owed(
        batch_id=row.batch_id,
        url=row.url,
        due_ms=row.due_ms,
        tries=taken[0].tries,
        is_given_up=is_given_up,
    )
