"""Answers: what providers said, each a row of its own that results and cache entries point to."""

from collections.abc import Sequence

from batchmill.requests.model import AttemptState
from batchmill.requests.work import Job, Outcome, Rejection
from db.bulk import INT, STR, bulk_insert
from db.engine import Transaction
from db.tables import answers

_add = bulk_insert(
    answers,
    {
        "id": INT,
        "status_code": INT,
        "body": STR,
        "error_code": STR,
        "error_message": STR,
        "provider": STR,
        "model": STR,
        "provider_request_id": STR,
        "finish_reason": STR,
        "created_ms": INT,
    },
)


def id_of(outcome: Outcome) -> int:
    """The row in which an outcome's reply is kept: its attempt's number; below zero where the attempt is unknown.

    What we say of a call that got lost must not stand in the place of the answer, which may yet arrive.
    """
    id_ = outcome.attempt.id
    return -id_ if outcome.attempt_state is AttemptState.UNKNOWN else id_


def add(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Keep the replies of these outcomes."""
    table = [
        {
            "id": id_of(outcome),
            "status_code": outcome.reply.status_code,
            "body": outcome.reply.body.decode() if outcome.reply.body is not None else None,
            "error_code": outcome.reply.error_code,
            "error_message": outcome.reply.error_message,
            "provider": outcome.attempt.provider,
            "model": outcome.attempt.model,
            "provider_request_id": outcome.reply.provider_request_id,
            "finish_reason": outcome.reply.finish_reason,
            "created_ms": tx.now_ms,
        }
        for outcome in outcomes
    ]
    tx.bulk(_add, table)


def own_id(job: Job) -> int:
    """The row of what we ourselves say of a line, without any call; no attempt has so high a number as a line."""
    return -job.request_id


def add_own(tx: Transaction, rejections: Sequence[Rejection]) -> None:
    """Keep why these lines fail."""
    table = [
        {
            "id": own_id(rejection.job),
            "status_code": None,
            "body": None,
            "error_code": rejection.code,
            "error_message": rejection.message,
            "provider": "",
            "model": rejection.job.model,
            "provider_request_id": "",
            "finish_reason": "",
            "created_ms": tx.now_ms,
        }
        for rejection in rejections
    ]
    tx.bulk(_add, table)
