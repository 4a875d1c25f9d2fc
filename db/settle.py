"""What one transaction of the writer does: look-ups, settlements, dispatches, hand-backs, together.

Locks are always taken in the same order: claims, flights, requests, cache entries, batches, (budgets); a claim, which
begins with the batch, waits for no entry (see `db.hits`). Money and answers follow the attempt, so they are true even
when the claim was lost meanwhile; the request follows the claim.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchmill.providers.base import Reply
from batchmill.requests.model import AttemptState, BatchState, RequestState
from batchmill.requests.work import Attempt, Job, Outcome
from db import answers, attempts, batches, cache, claims, flights, ledger, lookup, requests
from db.engine import Transaction
from db.page import Page


@dataclass(slots=True)
class Work:
    """What is to be written.

    Attributes:
        look_ups: Jobs fresh from a claim: answer them from the cache, park them behind a leader, or let them
            be called.
        sends: Calls about to be made, as (job, provider, model).
        outcomes: Attempts that ended.
        hand_backs: Jobs that go back to `pending`, each with the delay in ms after which it may be claimed
            again.
        open: How many jobs each claim held before this work.
    """

    look_ups: list[Job] = field(default_factory=list)
    sends: list[tuple[Job, str, str]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    hand_backs: list[tuple[Job, int]] = field(default_factory=list)
    open: Mapping[int, int] = field(default_factory=dict)

    def claim_ids(self) -> set[int]:
        """Every claim that this work is done under."""
        return (
            {job.claim_id for job in self.look_ups}
            | {job.claim_id for job, _, _ in self.sends}
            | {job.claim_id for job, _ in self.hand_backs}
            | {outcome.attempt.job.claim_id for outcome in self.outcomes}
        )


@dataclass(slots=True)
class Written:
    """What came of it.

    Attributes:
        leaders: The looked-up jobs that are to be called, with model and body.
        attempts: By request id, the calls that may now be made; a send that is not here must not be made.
        left: How many jobs have left each claim.
    """

    leaders: list[Job] = field(default_factory=list)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    left: Counter[int] = field(default_factory=Counter)


def write(tx: Transaction, work: Work, worker_id: str) -> Written:
    """Write all of it, or nothing."""
    page = Page()
    leases = claims.lock(tx, list(work.claim_ids()))
    look_ups = [job for job in work.look_ups if job.claim_id in leases]
    reserved = _reserve(tx, work.outcomes, look_ups)
    _settle(tx, work.outcomes, leases, page)
    leaders = lookup.look_up(tx, look_ups, page)
    flights.release(tx, reserved)
    hand_back(tx, [(job, delay) for job, delay in work.hand_backs if job.claim_id in leases])
    sends = [send for send in work.sends if leases.get(send[0].claim_id, 0) > tx.now_ms]
    for job, _, _ in sends:
        page.add(job.batch.id, sends=1)
    states = page.write(tx)
    granted = [send for send in sends if states.get(send[0].batch.id) is BatchState.IN_PROGRESS]
    ids, new = attempts.send(tx, granted, worker_id)
    _uncount(tx, [job for job, _, _ in granted if job.request_id not in new])
    left = _left(work, leaders)
    claims.drop(tx, [claim for claim, gone in left.items() if gone >= work.open.get(claim, 0)])
    return Written(
        leaders,
        {
            job.request_id: _attempt(ids[job.request_id], job, *to)
            for job, *to in granted
            if job.request_id in ids
        },
        left,
    )


def _uncount(tx: Transaction, sent_before: Sequence[Job]) -> None:
    """Take sends that turned out to be recorded already out of the count of calls."""
    changes: dict[int, dict[str, Any]] = {}
    for batch, times in Counter(job.batch.id for job in sent_before).items():
        changes[batch] = {"sends": -times}
    batches.count(tx, changes)


def _left(work: Work, leaders: Sequence[Job]) -> Counter[int]:
    left = Counter(outcome.attempt.job.claim_id for outcome in work.outcomes)
    left.update(job.claim_id for job, _ in work.hand_backs)
    left.update(job.claim_id for job in work.look_ups)
    left.subtract(job.claim_id for job in leaders)
    return left


def settle(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Settle outcomes only; for those who sweep up after lost workers and hold the claims' locks."""
    page = Page()
    held = {outcome.attempt.job.claim_id: 0 for outcome in outcomes}
    reserved = _reserve(tx, outcomes, [])
    _settle(tx, outcomes, held, page)
    flights.release(tx, reserved)
    page.write(tx)


def _attempt(attempt_id: int, job: Job, provider: str, model: str) -> Attempt:
    return Attempt(id=attempt_id, job=job, number=job.attempts + 1, provider=provider, model=model)


def _reserve(tx: Transaction, outcomes: Sequence[Outcome], look_ups: Sequence[Job]) -> list[str]:
    """Lock every flight that this transaction may touch; their keys. What the cache answers needs none but its own."""
    if tx.dialect == "sqlite":
        return []
    ended = [outcome.attempt.job for outcome in outcomes if outcome.state is not RequestState.PENDING]
    groups = lookup.by_key(look_ups)
    hits = list(lookup.usable(cache.find(tx, groups), groups))
    led = flights.led_by(tx, hits, [job.request_id for key in hits for job in groups[key]])
    needless = set(hits) - set(led)
    wanted = {key: group[0].request_id for key, group in groups.items() if key not in needless}
    wanted |= {job.cache_key: job.request_id for job in ended if job.cache_key}
    flights.reserve(tx, wanted)
    return list(wanted)


def _settle(tx: Transaction, outcomes: Sequence[Outcome], leases: dict[int, int], page: Page) -> None:
    if not outcomes:
        return
    on_time = attempts.end(tx, outcomes, AttemptState.SENT)
    late = [outcome for outcome in outcomes if outcome.attempt.id not in on_time]
    late = [outcome for outcome in late if outcome.attempt_state is AttemptState.SETTLED]
    corrected = attempts.end(tx, late, AttemptState.UNKNOWN)
    known = on_time | corrected
    held = [o for o in outcomes if o.attempt.job.claim_id in leases and o.attempt.id in on_time]
    ended = [outcome for outcome in held if outcome.state is not RequestState.PENDING]
    kept = [o for o in outcomes if o.keep_for_ms > 0 and o.attempt.job.cache_key and o.attempt.id in known]
    answers.add(tx, list({answers.id_of(outcome): outcome for outcome in (*ended, *kept)}.values()))
    cache.put(tx, kept)
    _move(tx, held)
    _enter(tx, outcomes, on_time, corrected, page)
    for outcome in ended:
        page.add(outcome.attempt.job.batch.id, **{outcome.state.value: 1})
    _land(tx, ended, page)


def _move(tx: Transaction, held: Sequence[Outcome]) -> None:
    table = [
        {
            "id": outcome.attempt.job.request_id,
            "claim_id": outcome.attempt.job.claim_id,
            "state": outcome.state,
            "next_run_ms": tx.now_ms + outcome.delay_ms if outcome.state is RequestState.PENDING else None,
            "attempts": outcome.attempt.number,
            "tries": outcome.tries,
            "throttles": outcome.throttles,
            "retry_reason": outcome.reply.error_code if outcome.state is RequestState.PENDING else "",
            "answer_id": None if outcome.state is RequestState.PENDING else answers.id_of(outcome),
        }
        for outcome in held
    ]
    requests.move(tx, table)


def _enter(
    tx: Transaction, outcomes: Sequence[Outcome], on_time: set[int], corrected: set[int], page: Page
) -> None:
    for outcome in outcomes:
        attempt, batch = outcome.attempt, outcome.attempt.job.batch
        if attempt.id in on_time:
            page.entries.append(ledger.of_outcome(tx, outcome))
        elif attempt.id in corrected:
            page.entries.append(ledger.of_outcome(tx, outcome, ledger.CORRECTION))
        else:
            continue
        is_unknown = outcome.attempt_state is AttemptState.UNKNOWN
        page.add(
            batch.id,
            spent_nanos=outcome.cost.nanos or 0,
            unpriced=int(outcome.cost.nanos is None and not is_unknown),
            unknown_attempts=int(is_unknown) - int(attempt.id in corrected),
            pause_reason=outcome.pause_reason,
            last_error=_error(outcome.reply),
        )


def _error(reply: Reply) -> str:
    return f"{reply.error_code}: {reply.error_message}" if reply.error_code else ""


def _land(tx: Transaction, ended: Sequence[Outcome], page: Page) -> None:
    kept = {o.attempt.job.cache_key: o for o in ended if o.attempt.job.cache_key and o.keep_for_ms > 0}
    hits = {key: _hit_of(tx, outcome) for key, outcome in kept.items() if key}
    page.answer_waiting(tx, flights.land(tx, list(hits)), hits)
    not_kept = {outcome.attempt.job.cache_key for outcome in ended if outcome.keep_for_ms == 0}
    for key in sorted(key for key in not_kept if key):
        flights.promote(tx, key)


def _hit_of(tx: Transaction, outcome: Outcome) -> cache.Hit:
    return cache.Hit(
        answer_id=answers.id_of(outcome),
        ok=outcome.state is RequestState.DONE,
        provider=outcome.attempt.provider,
        model=outcome.attempt.model,
        created_ms=tx.now_ms,
    )


def hand_back(tx: Transaction, jobs: Sequence[tuple[Job, int]]) -> None:
    """Make claimed jobs pending again, each after its delay in ms."""
    if jobs:
        requests.move(
            tx,
            [
                requests.row_of(job, RequestState.PENDING, next_run_ms=tx.now_ms + delay)
                for job, delay in jobs
            ],
        )
