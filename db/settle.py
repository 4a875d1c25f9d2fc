"""What one transaction of the writer does: look-ups, settlements, dispatches, hand-backs, together.

Locks are always taken in the same order: claims, flights, requests, batches, (budgets). Money and answers
follow the attempt, so they are true even when the claim was lost meanwhile; the request follows the claim.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchmill.providers.base import Reply
from batchmill.requests.model import AttemptState, BatchState, CacheMode, RequestState
from batchmill.requests.work import Attempt, BatchFacts, Job, Outcome
from db import answers, attempts, batches, cache, claims, flights, followers, ledger, requests
from db.engine import Transaction

Changes = dict[int, dict[str, Any]]


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


@dataclass(slots=True)
class _Page:
    """The ledger entries and counter changes that one transaction collects."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)
    changes: Changes = field(default_factory=dict)

    def add(self, batch: int, **amounts: Any) -> None:
        changed = self.changes.setdefault(batch, defaultdict(int))
        for name, amount in amounts.items():
            if isinstance(amount, str):
                changed[name] = amount or changed.get(name, "")
            else:
                changed[name] += amount

    def write(self, tx: Transaction) -> dict[int, BatchState]:
        """Write it, batches last; their states."""
        ledger.append(tx, self.entries)
        cache.used(tx, self.uses)
        return batches.count(tx, self.changes)


def write(tx: Transaction, work: Work, worker_id: str) -> Written:
    """Write all of it, or nothing."""
    page = _Page()
    leases = claims.lock(tx, list(work.claim_ids()))
    look_ups = [job for job in work.look_ups if job.claim_id in leases]
    reserved = _reserve(tx, work.outcomes, look_ups)
    _settle(tx, work.outcomes, leases, page)
    leaders = _look_up(tx, look_ups, page)
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
    changes: Changes = {}
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
    page = _Page()
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
    groups = _by_key(look_ups)
    hits = list(_usable(cache.find(tx, groups), groups))
    led = flights.led_by(tx, hits, [job.request_id for key in hits for job in groups[key]])
    needless = set(hits) - set(led)
    wanted = {key: group[0].request_id for key, group in groups.items() if key not in needless}
    wanted |= {job.cache_key: job.request_id for job in ended if job.cache_key}
    flights.reserve(tx, wanted)
    return list(wanted)


def _by_key(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.cache_key is not None:
            groups[job.cache_key].append(job)
    return groups


def _settle(tx: Transaction, outcomes: Sequence[Outcome], leases: dict[int, int], page: _Page) -> None:
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
    _must_move(tx, table)


def _must_move(tx: Transaction, table: Sequence[dict[str, Any]]) -> None:
    moved = requests.move(tx, table)
    if moved != len(table):
        raise RuntimeError(f"{len(table) - moved} requests left a claim that stands; nothing was written")


def _enter(
    tx: Transaction, outcomes: Sequence[Outcome], on_time: set[int], corrected: set[int], page: _Page
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


def _land(tx: Transaction, ended: Sequence[Outcome], page: _Page) -> None:
    kept = {o.attempt.job.cache_key: o for o in ended if o.attempt.job.cache_key and o.keep_for_ms > 0}
    hits = {key: _hit_of(tx, outcome) for key, outcome in kept.items() if key}
    _answer_waiting(tx, flights.land(tx, list(hits)), hits, page)
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


def _answer_waiting(tx: Transaction, keys: Sequence[str], hits: Mapping[str, cache.Hit], page: _Page) -> None:
    table = [
        {
            "cache_key": key,
            "state": _state_of(hits[key]),
            "answer_id": hits[key].answer_id,
            "provider": hits[key].provider,
            "model": hits[key].model,
        }
        for key in sorted(keys)
    ]
    for row in followers.answer(tx, table):
        page.add(row.batch_id, cached=row.times, **{row.state: row.times})
        page.uses[row.cache_key] += row.times


def _enter_hits(tx: Transaction, found: Iterable[tuple[int, BatchFacts, cache.Hit]], page: _Page) -> None:
    for request, batch, hit in found:
        page.entries.append(
            ledger.of_hit(tx, batch, request, provider=hit.provider, model=hit.model, ok=hit.ok)
        )
        page.add(batch.id, cached=1, **{_state_of(hit).value: 1})


def _state_of(hit: cache.Hit) -> RequestState:
    return RequestState.DONE if hit.ok else RequestState.FAILED


def _look_up(tx: Transaction, jobs: Sequence[Job], page: _Page) -> list[Job]:
    """Answer from the cache what can be, park what another is asking for; the jobs to be called, with their bodies."""
    unkeyed = [job for job in jobs if job.cache_key is None]
    keyed = _by_key(jobs)
    hits = _usable(cache.find(tx, keyed), keyed)
    missing = {key: group for key, group in keyed.items() if key not in hits}
    leading = flights.board(
        tx, [(key, group[0].request_id, len(group) - 1) for key, group in missing.items()]
    )
    _use(tx, {key: (hit, keyed[key]) for key, hit in hits.items()}, page)
    leaders = list(unkeyed)
    for key, group in missing.items():
        if key not in hits:
            leaders += [job for job in group if job.request_id == leading[key]]
            _park(tx, [job for job in group if job.request_id != leading[key]])
    return _with_bodies(tx, leaders)


def _usable(found: dict[str, cache.Hit], groups: dict[str, list[Job]]) -> dict[str, cache.Hit]:
    """The hits that these jobs may use: a batch that asks anew takes only what has been answered since it started."""
    return {
        key: hit
        for key, hit in found.items()
        if all(
            job.batch.cache is not CacheMode.REFRESH or hit.created_ms >= job.batch.started_ms
            for job in groups[key]
        )
    }


def _use(tx: Transaction, hits: dict[str, tuple[cache.Hit, list[Job]]], page: _Page) -> None:
    if not hits:
        return
    table = [
        _row(job, _state_of(hit), answer_id=hit.answer_id) for hit, group in hits.values() for job in group
    ]
    _must_move(tx, table)
    _enter_hits(tx, [(job.request_id, job.batch, hit) for hit, group in hits.values() for job in group], page)
    page.uses.update({key: len(group) for key, (_, group) in hits.items()})
    led = flights.led_by(tx, list(hits), [job.request_id for _, group in hits.values() for job in group])
    _answer_waiting(tx, flights.land(tx, led), {key: hit for key, (hit, _) in hits.items()}, page)


def _park(tx: Transaction, jobs: Sequence[Job]) -> None:
    if jobs:
        _must_move(tx, [_row(job, RequestState.WAITING) for job in jobs])


def hand_back(tx: Transaction, jobs: Sequence[tuple[Job, int]]) -> None:
    """Make claimed jobs pending again, each after its delay in ms."""
    if jobs:
        _must_move(
            tx, [_row(job, RequestState.PENDING, next_run_ms=tx.now_ms + delay) for job, delay in jobs]
        )


def _row(
    job: Job, state: RequestState, *, next_run_ms: int | None = None, answer_id: int | None = None
) -> dict[str, Any]:
    return {
        "id": job.request_id,
        "claim_id": job.claim_id,
        "state": state,
        "next_run_ms": next_run_ms,
        "attempts": job.attempts,
        "tries": job.tries,
        "throttles": job.throttles,
        "retry_reason": "" if job.reason == "first" else job.reason,
        "answer_id": answer_id,
    }


def _with_bodies(tx: Transaction, jobs: list[Job]) -> list[Job]:
    bodies = requests.bodies(tx, [job.request_id for job in jobs])
    for job in jobs:
        job.model, job.body = bodies[job.request_id]
    return jobs
