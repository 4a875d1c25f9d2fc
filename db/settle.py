"""What one transaction of the writer does: look-ups, settlements, dispatches, hand-backs, together.

Locks are always taken in the same order: claims, flights, requests, cache entries, batches, circuits, budgets; a
claim, which begins with the batch, waits for no entry (see `db.hits`). Money and answers follow the attempt, so they
are true even when the claim was lost meanwhile; the request follows the claim.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from batchmill.budgets.balance import Charge
from batchmill.failpoints import Failpoint, reached
from batchmill.providers.base import Reply
from batchmill.requests.model import AttemptState, BatchState, RequestState
from batchmill.requests.work import Attempt, HandBack, Job, Outcome, Rejection, Send, Why, Withheld
from batchmill.routing.circuits import DEFAULT_RULES, Circuit, CircuitRules, CircuitState
from db import answers, attempts, batches, cache, claims, direct, flights, ledger, lookup, paths, requests
from db.budgets.holds import Held, Till, periods_of
from db.circuits import Key, Panel
from db.direct import Entered, Entry
from db.engine import Transaction
from db.page import Page

CALL_TIMEOUT_MS = 600_000
LEASE_MS = 15_000


@dataclass(slots=True)
class Work:
    """What is to be written.

    Attributes:
        entries: Requests whose callers wait: entered, and then looked up like those from a claim.
        look_ups: Jobs fresh from a claim: answer them from the cache, park them behind a leader, or let them
            be called.
        sends: Calls about to be made.
        outcomes: Attempts that ended.
        hand_backs: Jobs that go back to `pending`.
        rejections: Jobs whose lines fail without a call.
        open: How many jobs each claim held before this work.
    """

    entries: list[Entry] = field(default_factory=list)
    look_ups: list[Job] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    hand_backs: list[HandBack] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    open: Mapping[int, int] = field(default_factory=dict)

    def claim_ids(self) -> set[int]:
        """Every claim that this work is done under."""
        return (
            {job.claim_id for job in self.look_ups}
            | {send.job.claim_id for send in self.sends}
            | {back.job.claim_id for back in self.hand_backs}
            | {rejection.job.claim_id for rejection in self.rejections}
            | {outcome.attempt.job.claim_id for outcome in self.outcomes}
        )


@dataclass(slots=True)
class Written:
    """What came of it.

    Attributes:
        leaders: The looked-up jobs that are to be called, with model and body.
        attempts: By request id, the calls that may now be made; a send that is not here must not be made.
        withheld: By request id, why others may not.
        left: How many jobs have left each claim.
        lost: Claims that were taken back. Their requests may be here all the same, claimed anew by this very worker:
            what came of them is for who holds the new claim, and not for who held the lost one.
        circuits: Those that are not as new, as they are now.
        entered: By the name of its batch, what came of each entry.
        looked_up: How many jobs were looked up.
        shared: How many of them wait behind another that asks the same.
        circuit_changes: Which circuits changed to which state.
    """

    leaders: list[Job] = field(default_factory=list)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    withheld: dict[int, Withheld] = field(default_factory=dict)
    left: Counter[int] = field(default_factory=Counter)
    lost: frozenset[int] = frozenset()
    circuits: Mapping[Key, Circuit] = field(default_factory=dict)
    entered: Mapping[str, Entered] = field(default_factory=dict)
    looked_up: int = 0
    shared: int = 0
    circuit_changes: Sequence[tuple[Key, CircuitState]] = ()


def write(
    tx: Transaction,
    work: Work,
    worker_id: str,
    *,
    lease_ms: int = LEASE_MS,
    call_timeout_ms: int = CALL_TIMEOUT_MS,
    rules: CircuitRules = DEFAULT_RULES,
) -> Written:
    """Write all of it, or nothing.

    Args:
        lease_ms: How long the claims of entries last.
        call_timeout_ms: The longest that a call may be out.
        rules: When circuits open, and for how long.
    """
    page = Page()
    named = work.claim_ids()
    leases = claims.lock(tx, list(named))
    entered = direct.enter(tx, work.entries, worker_id, lease_ms)
    look_ups = [*(job for job in work.look_ups if job.claim_id in leases), *entered.values()]
    rejections = [rejection for rejection in work.rejections if rejection.job.claim_id in leases]
    sends = [send for send in work.sends if leases.get(send.job.claim_id, 0) > tx.now_ms]
    found = lookup.answered_elsewhere(tx, sends)
    ending = [
        *_ending(work.outcomes),
        *(rejection.job for rejection in rejections),
        *(job for job, _ in found),
    ]
    reserved = _reserve(tx, ending, look_ups)
    ended = _settle(tx, work.outcomes, leases, page)
    _reject(tx, rejections, page)
    lookup.use_found(tx, found, page)
    leaders, shared = lookup.look_up(tx, look_ups, page)
    flights.release(tx, reserved)
    backs = [back for back in work.hand_backs if back.job.claim_id in leases]
    hand_back(tx, backs, page)
    answered = {job.request_id for job, _ in found}
    sends = [send for send in sends if send.job.request_id not in answered]
    for send in sends:
        page.add(send.job.batch.id, sends=1)
    states = page.write(tx)
    batches.wait_for_budgets(tx, [back for back in backs if back.withheld is not None])
    running = [send for send in sends if states.get(send.job.batch.id) is BatchState.IN_PROGRESS]
    owners = (*_path_owners(work), *(job for job, _ in found))
    paths.put(tx, (job for job in owners if job.claim_id in leases))
    panel = Panel(
        tx,
        ended=ended,
        asked={candidate.key for send in running for candidate in (send.asked, *(send.cheaper or ()))},
        call_timeout_ms=call_timeout_ms,
        rules=rules,
    )
    attempts_made, withheld = _dispatch(tx, running, page.charges, worker_id, panel)
    if attempts_made:
        reached(Failpoint.IN_DISPATCH)
    withheld |= {id_: Withheld(why=Why.ANSWERED) for id_ in answered}
    left = _left(work, leaders)
    left.update(job.claim_id for job in entered.values())
    left.update(job.claim_id for job, _ in found)
    open_ = {**work.open, **{job.claim_id: 1 for job in entered.values()}}
    claims.drop(tx, [claim for claim, gone in left.items() if gone >= open_.get(claim, 0)])
    return Written(
        leaders=leaders,
        attempts=attempts_made,
        withheld=withheld,
        left=left,
        lost=frozenset(named - leases.keys()),
        circuits=panel.circuits,
        entered=_entered(tx, entered, leaders),
        looked_up=len(look_ups),
        shared=shared,
        circuit_changes=panel.changes,
    )


def _entered(tx: Transaction, jobs: Mapping[str, Job], leaders: Sequence[Job]) -> dict[str, Entered]:
    """What came of entries: jobs to be called for, and how the others stand."""
    if not jobs:
        return {}
    called = {job.request_id for job in leaders}
    others = [job.request_id for job in jobs.values() if job.request_id not in called]
    stand = direct.standings(tx, others)
    return {
        name: Entered(
            request_id=job.request_id,
            batch_id=job.batch.id,
            job=job if job.request_id in called else None,
            standing=stand.get(job.request_id),
        )
        for name, job in jobs.items()
    }


def _path_owners(work: Work) -> Iterator[Job]:
    """Every job whose path may have gone on."""
    yield from (outcome.attempt.job for outcome in work.outcomes)
    yield from (rejection.job for rejection in work.rejections)
    yield from (back.job for back in work.hand_backs)


def _dispatch(
    tx: Transaction, sends: Sequence[Send], charges: Sequence[Charge], worker_id: str, panel: Panel
) -> tuple[dict[int, Attempt], dict[int, Withheld]]:
    """Hold and record the calls that may be made, with budgets charged first for what has ended."""
    admitted: dict[int, tuple[Job, Held]] = {}
    withheld: dict[int, Withheld] = {}
    has_next = {send.job.request_id: send.has_next for send in sends}
    till = Till(tx, charges, sends)
    for send in sends:
        said = _admit(send, panel, till)
        if isinstance(said, Withheld):
            withheld[send.job.request_id] = said
        else:
            admitted[send.job.request_id] = send.job, said
    ids, new = attempts.send(tx, list(admitted.values()), worker_id)
    for request, (_, held) in admitted.items():
        if request not in new:
            till.let_go(held)
    till.write()
    _uncount(tx, [send.job for send in sends if send.job.request_id not in new])
    made = {
        id_: _attempt(ids[id_], job, held, has_next=has_next[id_])
        for id_, (job, held) in admitted.items()
        if id_ in ids
    }
    return made, withheld


def _admit(send: Send, panel: Panel, till: Till) -> Held | Withheld:
    """Leave for one call, of its model's circuit and of its budgets; only a call that has both is a probe."""
    if not panel.circuits:
        return till.admit(send)
    until_ms = panel.closed_until_ms(send.asked.key, is_lone=send.is_lone)
    if until_ms is not None:
        return Withheld(why=Why.CLOSED, until_ms=until_ms)
    closed = {one.key: panel.closed_until_ms(one.key) for one in send.cheaper or ()}
    waits_ms = [until_ms for until_ms in closed.values() if until_ms is not None]
    if waits_ms:
        send = replace(send, cheaper=tuple(one for one in send.cheaper or () if closed[one.key] is None))
    said = till.admit(send)
    if isinstance(said, Held):
        panel.note_sent(said.candidate.key)
    elif waits_ms and said.why is Why.EXHAUSTED:
        return Withheld(why=Why.CLOSED, until_ms=min(waits_ms))
    return said


def _uncount(tx: Transaction, not_sent: Sequence[Job]) -> None:
    """Take sends that were withheld, or turned out to be recorded already, out of the count of calls."""
    changes: dict[int, dict[str, Any]] = {}
    for batch, times in Counter(job.batch.id for job in not_sent).items():
        changes[batch] = {"sends": -times}
    batches.count(tx, changes)


def _left(work: Work, leaders: Sequence[Job]) -> Counter[int]:
    left = Counter(outcome.attempt.job.claim_id for outcome in work.outcomes)
    left.update(back.job.claim_id for back in work.hand_backs)
    left.update(rejection.job.claim_id for rejection in work.rejections)
    left.update(job.claim_id for job in work.look_ups)
    left.subtract(job.claim_id for job in leaders)
    return left


def settle(tx: Transaction, outcomes: Sequence[Outcome], unsent: Sequence[Job] = ()) -> None:
    """Settle outcomes and hand back what was not sent; for those who sweep up after lost workers and hold the claims'
    locks."""
    page = Page()
    held = {outcome.attempt.job.claim_id: 0 for outcome in outcomes}
    reserved = _reserve(tx, _ending(outcomes), [])
    ended = _settle(tx, outcomes, held, page)
    flights.release(tx, reserved)
    hand_back(tx, [HandBack(job=job) for job in unsent], page)
    page.write(tx)
    Panel(tx, ended=ended, asked=(), call_timeout_ms=CALL_TIMEOUT_MS)
    Till(tx, page.charges, []).write()


def _attempt(attempt_id: int, job: Job, held: Held, *, has_next: bool) -> Attempt:
    asked = held.candidate
    return Attempt(
        id=attempt_id,
        job=job,
        number=job.attempts + 1,
        provider=asked.provider,
        model=asked.model,
        body=asked.body,
        cache_key=asked.cache_key,
        has_next=has_next,
        held_nanos=held.nanos if held.periods else None,
    )


def _ending(outcomes: Sequence[Outcome]) -> list[Job]:
    """The jobs that nothing more is done for."""
    return [outcome.attempt.job for outcome in outcomes if outcome.state is not RequestState.PENDING]


def _reserve(tx: Transaction, ended: Sequence[Job], look_ups: Sequence[Job]) -> list[str]:
    """Lock every flight that this transaction may touch; their keys. What the cache answers needs none but its own."""
    if tx.dialect == "sqlite":
        return []
    groups = lookup.by_key(look_ups)
    hits = list(lookup.usable(cache.find(tx, groups), groups))
    led = flights.led_by(tx, hits, [job.request_id for key in hits for job in groups[key]])
    needless = set(hits) - set(led)
    wanted = {key: group[0].request_id for key, group in groups.items() if key not in needless}
    wanted |= {job.cache_key: job.request_id for job in ended if job.cache_key}
    flights.reserve(tx, wanted)
    return list(wanted)


def _settle(
    tx: Transaction, outcomes: Sequence[Outcome], leases: dict[int, int], page: Page
) -> list[tuple[Outcome, int]]:
    """Write how attempts ended; those that did so just now, and when they were sent."""
    if not outcomes:
        return []
    on_time = attempts.end(tx, outcomes, AttemptState.SENT)
    reached(Failpoint.IN_SETTLE)
    late = [outcome for outcome in outcomes if outcome.attempt.id not in on_time]
    late = [outcome for outcome in late if outcome.attempt_state is AttemptState.SETTLED]
    corrected = attempts.end(tx, late, AttemptState.UNKNOWN)
    known = on_time.keys() | corrected.keys()
    page.charges += _charges(outcomes, on_time, was_unknown=False)
    page.charges += _charges(outcomes, corrected, was_unknown=True)
    held = [o for o in outcomes if o.attempt.job.claim_id in leases and o.attempt.id in on_time]
    ended = [outcome for outcome in held if outcome.state is not RequestState.PENDING]
    kept = [o for o in outcomes if o.keep_for_ms > 0 and o.attempt.id in known]
    answers.add(tx, list({answers.id_of(outcome): outcome for outcome in (*ended, *kept)}.values()))
    cache.put(tx, kept)
    _move(tx, held)
    _enter(tx, outcomes, on_time, corrected, page)
    for outcome in ended:
        page.add(outcome.attempt.job.batch.id, **{outcome.state.value: 1})
    _land(tx, ended, page)
    return [(outcome, row.sent_ms) for outcome in outcomes if (row := on_time.get(outcome.attempt.id))]


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


def _charges(outcomes: Sequence[Outcome], ended: Mapping[int, Any], *, was_unknown: bool) -> Iterable[Charge]:
    """What the calls among these came to that are held on budgets; `ended` are their rows as they were."""
    for outcome in outcomes:
        row = ended.get(outcome.attempt.id)
        if row is not None and row.held_on:
            yield Charge(
                periods=periods_of(row.held_on),
                hold_nanos=row.hold_nanos,
                cost_nanos=outcome.cost.nanos,
                is_unknown=outcome.attempt_state is AttemptState.UNKNOWN,
                was_unknown=was_unknown,
                sent_ms=row.sent_ms,
                provider=outcome.attempt.provider,
                model=outcome.attempt.model,
            )


def _enter(
    tx: Transaction,
    outcomes: Sequence[Outcome],
    on_time: Mapping[int, Any],
    corrected: Mapping[int, Any],
    page: Page,
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
    kept = {o.attempt.job.cache_key: o for o in ended if o.keep_for_ms > 0 and o.answers_its_question}
    hits = {key: _hit_of(tx, outcome) for key, outcome in kept.items() if key}
    page.answer_waiting(tx, flights.land(tx, list(hits)), hits)
    not_kept = {outcome.attempt.job.cache_key for outcome in ended} - kept.keys()
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


def _reject(tx: Transaction, rejections: Sequence[Rejection], page: Page) -> None:
    """Fail lines for which no call is made; who waits for one of them may lead in its place."""
    if not rejections:
        return
    answers.add_own(tx, rejections)
    requests.move(
        tx,
        [
            requests.row_of(one.job, RequestState.FAILED, answer_id=answers.own_id(one.job))
            for one in rejections
        ],
    )
    for one in rejections:
        page.add(one.job.batch.id, failed=1, last_error=f"{one.code}: {one.message}")
    for key in sorted({one.job.cache_key for one in rejections if one.job.cache_key}):
        flights.promote(tx, key)


def hand_back(tx: Transaction, backs: Sequence[HandBack], page: Page) -> None:
    """Make claimed jobs pending again, each after its delay."""
    if not backs:
        return
    requests.move(
        tx,
        [
            requests.row_of(back.job, RequestState.PENDING, next_run_ms=tx.now_ms + back.delay_ms)
            for back in backs
        ],
    )
    for back in backs:
        if back.withheld is not None:
            page.add(back.job.batch.id, pause_reason=back.withheld.reason)
