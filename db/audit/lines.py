"""Lines: each is in one state that leads on, and the counters count them."""

from typing import Any

from sqlalchemy import Text, and_, case, cast, exists, func, literal, or_, select

from batchmill.requests.model import ENDED, RequestState
from db.audit.check import ENDED_BATCH, HAS_LINES, STARTED, Check, is_of_batch, place_in_batch
from db.tables import answers, batches, cache_entries, claims, flights, requests

_counted = {state: func.count(case((requests.c.state == state, 1))) for state in ENDED}
_ended = batches.c.done + batches.c.failed + batches.c.cancelled + batches.c.expired
_its_batch = is_of_batch(requests.c.id)
_leader = requests.alias("leader")
_IS_ON_ITS_WAY = (RequestState.PENDING, RequestState.CLAIMED)
_WILL_BE_SEEN_TO = (RequestState.CANCELLED, RequestState.EXPIRED)  # the sweep lets another one lead


def _tell_counts(row: Any) -> str:
    counts = {state.value: (getattr(row, f"says_{state}"), getattr(row, f"found_{state}")) for state in ENDED}
    counts["lines"] = (row.total, row.found)
    return ", ".join(
        f"{name}: {says} counted, {found} found" for name, (says, found) in counts.items() if says != found
    )


counters = Check(
    name="counters",
    invariant=8,
    promise="the counters of every batch are what its lines say",
    broken=select(
        batches.c.id.label("batch_id"),
        batches.c.total,
        func.count(requests.c.id).label("found"),
        *(batches.c[state].label(f"says_{state}") for state in ENDED),
        *(counted.label(f"found_{state}") for state, counted in _counted.items()),
    )
    .join_from(batches, requests, _its_batch, isouter=True)
    .where(HAS_LINES)
    .group_by(batches.c.id)
    .having(
        or_(
            func.count(requests.c.id) != batches.c.total,
            *(counted != batches.c[state] for state, counted in _counted.items()),
        )
    ),
    tell=_tell_counts,
)

ends = Check(
    name="ends",
    invariant=1,
    promise="a batch has ended if, and only if, all of its lines have",
    broken=select(
        batches.c.id.label("batch_id"), batches.c.state, batches.c.total, _ended.label("ended")
    ).where(STARTED, batches.c.state.in_(ENDED_BATCH) != (_ended == batches.c.total)),
    tell=lambda row: f"it is {row.state}; {row.ended} of {row.total} lines have ended",
)

answered = Check(
    name="answers",
    invariant=1,
    promise="every line that is done or failed has an answer",
    broken=select(requests.c.id.label("request_id"), requests.c.state, requests.c.answer_id)
    .join_from(requests, answers, answers.c.id == requests.c.answer_id, isouter=True)
    .where(requests.c.state.in_([RequestState.DONE, RequestState.FAILED]), answers.c.id.is_(None)),
    tell=lambda row: f"it is {row.state}, but answer {row.answer_id} is not there",
)

claimable = Check(
    name="claimable",
    invariant=1,
    promise="a waiting line can be found by those who claim",
    broken=select(
        requests.c.id.label("request_id"), requests.c.state, requests.c.next_run_ms, batches.c.cursor
    )
    .join_from(batches, requests, _its_batch)
    .where(
        or_(
            and_(
                requests.c.state == RequestState.PENDING,
                (place_in_batch() <= batches.c.cursor) != requests.c.next_run_ms.is_not(None),
            ),
            and_(requests.c.state != RequestState.PENDING, requests.c.next_run_ms.is_not(None)),
        )
    ),
    tell=lambda row: (
        f"it is {row.state}, due at {row.next_run_ms}, and claims have come to line {row.cursor}"
    ),
)

# The claim's list is JSON text, [1,2,3]; this way it can be looked through on both databases.
_listed = func.replace(func.replace(claims.c.request_ids, "[", ","), "]", ",")

held = Check(
    name="claims",
    invariant=5,
    promise="a line is claimed if, and only if, it is listed in a claim that stands",
    broken=select(requests.c.id.label("request_id"), requests.c.state, requests.c.claim_id).where(
        or_(
            (requests.c.state == RequestState.CLAIMED) != requests.c.claim_id.is_not(None),
            and_(
                requests.c.claim_id.is_not(None),
                ~exists(
                    select(1).where(
                        claims.c.id == requests.c.claim_id,
                        _listed.contains(literal(",") + cast(requests.c.id, Text) + ","),
                    )
                ),
            ),
        )
    ),
    tell=lambda row: f"it is {row.state}, and its claim is {row.claim_id or 'none'}",
)

waiting = Check(
    name="waiting",
    invariant=1,
    promise="a line that waits for another's answer waits for one that is on its way",
    broken=select(requests.c.id.label("request_id"), flights.c.request_id.label("leader"), _leader.c.state)
    .join_from(requests, flights, flights.c.cache_key == requests.c.cache_key, isouter=True)
    .join(_leader, _leader.c.id == flights.c.request_id, isouter=True)
    .where(
        requests.c.state == RequestState.WAITING,
        or_(
            _leader.c.id.is_(None),
            _leader.c.id == requests.c.id,
            flights.c.followers <= 0,
            _leader.c.state.not_in([*_IS_ON_ITS_WAY, *_WILL_BE_SEEN_TO]),
        ),
    ),
    tell=lambda row: f"it waits for request {row.leader}, which is {row.state or 'not there'}",
)

kept = Check(
    name="cache",
    invariant=1,
    promise="every entry of the cache has its answer",
    broken=select(cache_entries.c.cache_key, cache_entries.c.answer_id)
    .join_from(cache_entries, answers, answers.c.id == cache_entries.c.answer_id, isouter=True)
    .where(answers.c.id.is_(None)),
    tell=lambda row: f"the entry {row.cache_key[:12]}… points to answer {row.answer_id}, which is not there",
    hint="`batchmill cache clear` drops the entries, and their questions are asked anew; please report this",
)
