"""Calls: each is recorded once, for a reason, and none goes on for a line that has ended."""

from sqlalchemy import and_, case, func, or_, select

from batchmill.requests.model import AttemptState, RequestState
from batchmill.requests.work import FIRST
from db.audit.check import HAS_LINES, Check, is_of_batch
from db.tables import attempts, batches, requests

_is_sent = attempts.c.state == AttemptState.SENT
_calls = func.count(attempts.c.id)
_unknown = func.count(case((attempts.c.state == AttemptState.UNKNOWN, 1)))
_unpriced = func.count(
    case((and_(attempts.c.state == AttemptState.SETTLED, attempts.c.cost_nanos.is_(None)), 1))
)
_ended_calls = (
    select(func.coalesce(func.max(attempts.c.number), 0))
    .where(attempts.c.request_id == requests.c.id, ~_is_sent)
    .correlate(requests)
    .scalar_subquery()
)

numbers = Check(
    name="attempt-numbers",
    invariant=2,
    promise="the calls of a line are numbered from 1 without a gap",
    broken=select(attempts.c.request_id, _calls.label("times"), func.max(attempts.c.number).label("highest"))
    .group_by(attempts.c.request_id)
    .having(or_(func.min(attempts.c.number) != 1, func.max(attempts.c.number) != _calls)),
    tell=lambda row: f"{row.times} calls, the last with number {row.highest}",
)

counted = Check(
    name="attempt-counts",
    invariant=4,
    promise="every line counts the calls made for it",
    broken=select(requests.c.id.label("request_id"), requests.c.attempts, _ended_calls.label("ended")).where(
        requests.c.attempts != _ended_calls
    ),
    tell=lambda row: f"{row.attempts} counted, {row.ended} recorded as ended",
)

reasons = Check(
    name="attempt-reasons",
    invariant=4,
    promise="every call after a line's first has a reason",
    broken=select(attempts.c.request_id, attempts.c.number, attempts.c.reason).where(
        or_(attempts.c.reason == "", (attempts.c.number == 1) != (attempts.c.reason == FIRST))
    ),
    tell=lambda row: f'its reason is "{row.reason}"',
)

in_flight = Check(
    name="calls-in-flight",
    invariant=5,
    promise="a call is under way only for a line that is claimed by whoever made it",
    broken=select(
        attempts.c.request_id,
        attempts.c.number,
        requests.c.state,
        attempts.c.claim_id.label("made_under"),
        requests.c.claim_id,
    )
    .join_from(attempts, requests, requests.c.id == attempts.c.request_id, isouter=True)
    .where(
        _is_sent,
        or_(
            requests.c.id.is_(None),
            requests.c.state != RequestState.CLAIMED,
            requests.c.claim_id.is_distinct_from(attempts.c.claim_id),
        ),
    ),
    tell=lambda row: (
        f"made under claim {row.made_under}; the line is {row.state or 'not there'}, its claim {row.claim_id or 'none'}"
    ),
)

doubled = Check(
    name="double-calls",
    invariant=2,
    promise="no question is being asked twice at the same time",
    broken=select(func.min(requests.c.id).label("request_id"), _calls.label("times"))
    .join_from(attempts, requests, requests.c.id == attempts.c.request_id)
    .where(_is_sent, requests.c.cache_key.is_not(None))
    .group_by(requests.c.cache_key)
    .having(_calls > 1),
    tell=lambda row: f"{row.times} calls ask what it asks",
)

of_batches = Check(
    name="call-counters",
    invariant=8,
    promise="every batch counts its calls: all, the unknown ones and those without a known price",
    broken=select(
        batches.c.id.label("batch_id"),
        batches.c.calls,
        batches.c.unknown_attempts,
        batches.c.unpriced,
        _calls.label("found_calls"),
        _unknown.label("found_unknown"),
        _unpriced.label("found_unpriced"),
    )
    .join_from(batches, attempts, is_of_batch(attempts.c.request_id), isouter=True)
    .where(HAS_LINES)
    .group_by(batches.c.id)
    .having(
        or_(
            _calls != batches.c.calls,
            _unknown != batches.c.unknown_attempts,
            _unpriced != batches.c.unpriced,
        )
    ),
    tell=lambda row: (
        f"calls: {row.calls} counted, {row.found_calls} found; unknown: {row.unknown_attempts} and {row.found_unknown};"
        f" unpriced: {row.unpriced} and {row.found_unpriced}"
    ),
)
