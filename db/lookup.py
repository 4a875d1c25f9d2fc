"""Look-up: what of a claim the cache answers, what waits behind another request, and what is to be called.

Most hits never come here: `db.hits` answers fresh requests before they are claimed. What comes are requests to be
tried again, which may lead those who wait, and what has been answered since the claim.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from batchmill.requests.model import CacheMode, RequestState
from batchmill.requests.work import Job, Send
from batchmill.routing.path import EMPTY, Path
from batchmill.routing.wants import load_wants, merged
from db import attempts, cache, flights, paths, requests
from db.engine import Transaction
from db.page import Page, state_of


class Looked(NamedTuple):
    """What came of look-ups: the jobs to be called, and how many wait behind another that asks the same."""

    leaders: list[Job]
    shared: int


class Found(NamedTuple):
    """An answer in the cache, and what it is known by there."""

    key: str
    hit: cache.Hit


def by_key(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Those of the jobs that may share an answer, by what they ask."""
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.cache_key is not None:
            groups[job.cache_key].append(job)
    return groups


def look_up(tx: Transaction, jobs: Sequence[Job], page: Page) -> Looked:
    """Answer from the cache what can be, park what another is asking for; the jobs to be called, with their bodies."""
    unkeyed = [job for job in jobs if job.cache_key is None]
    keyed = by_key(jobs)
    hits = usable(cache.find(tx, keyed), keyed)
    missing = {key: group for key, group in keyed.items() if key not in hits}
    leading = flights.board(
        tx, [(key, group[0].request_id, len(group) - 1) for key, group in missing.items()]
    )
    _use(tx, {key: (hit, keyed[key]) for key, hit in hits.items()}, page)
    leaders, shared = list(unkeyed), 0
    for key, group in missing.items():
        leaders += [job for job in group if job.request_id == leading[key]]
        parked = [job for job in group if job.request_id != leading[key]]
        _park(tx, parked)
        shared += len(parked)
    return Looked(_with_bodies(tx, leaders), shared)


def answered_elsewhere(tx: Transaction, sends: Sequence[Send]) -> list[tuple[Job, Found]]:
    """Jobs about to be put to another model than they ask for, of which that model has answered the same before."""
    asking = {send.asked.cache_key: send for send in sends if send.asked.cache_key is not None}
    if not asking:
        return []
    hits = cache.find(tx, asking)
    return [
        (send.job, Found(key, hits[key]))
        for send in sends
        if (key := send.asked.cache_key) is not None
        and key in hits
        and usable({key: hits[key]}, {key: [send.job]})
    ]


def use_found(tx: Transaction, found: Sequence[tuple[Job, Found]], page: Page) -> None:
    """Answer jobs with what was found. To who asks for any model it is an answer as well; others may go on to lead."""
    if not found:
        return
    requests.move(
        tx,
        [requests.row_of(job, state_of(one.hit), answer_id=one.hit.answer_id) for job, one in found],
    )
    for job, one in found:
        page.enter_hit(tx, job, one.hit, key=one.key)
        page.uses[one.key] += 1
        if job.cache_key is None:
            continue
        if not job.provider:
            hits = {job.cache_key: one.hit}
            page.answer_waiting(tx, flights.land(tx, [job.cache_key]), hits, kept_under=one.key)
        else:
            flights.promote(tx, job.cache_key)


def usable(found: dict[str, cache.Hit], groups: dict[str, list[Job]]) -> dict[str, cache.Hit]:
    """The hits that these jobs may use: a batch that asks anew takes only what has been answered since it started."""
    return {
        key: hit
        for key, hit in found.items()
        if all(
            job.batch.cache is not CacheMode.REFRESH or hit.created_ms >= job.batch.started_ms
            for job in groups[key]
        )
    }


def _use(tx: Transaction, hits: dict[str, tuple[cache.Hit, list[Job]]], page: Page) -> None:
    if not hits:
        return
    table = [
        requests.row_of(job, state_of(hit), answer_id=hit.answer_id)
        for hit, group in hits.values()
        for job in group
    ]
    requests.move(tx, table)
    for hit, group in hits.values():
        for job in group:
            page.enter_hit(tx, job, hit)
    page.uses.update({key: len(group) for key, (_, group) in hits.items()})
    led = flights.led_by(tx, list(hits), [job.request_id for _, group in hits.values() for job in group])
    page.answer_waiting(tx, flights.land(tx, led), {key: hit for key, (hit, _) in hits.items()})


def _park(tx: Transaction, jobs: Sequence[Job]) -> None:
    if jobs:
        requests.move(tx, [requests.row_of(job, RequestState.WAITING) for job in jobs])


def _with_bodies(tx: Transaction, jobs: list[Job]) -> list[Job]:
    ids = [job.request_id for job in jobs]
    questions = {row.request_id: row for row in requests.questions(tx, ids)}
    walked = paths.of(tx, ids)
    called = attempts.calls_of(tx, [job.request_id for job in jobs if job.attempts])
    for job in jobs:
        put_question(job, questions[job.request_id], walked.get(job.request_id, EMPTY))
        job.called = called.get(job.request_id, {})
    return jobs


def put_question(job: Job, question: Any, path: Path) -> None:
    """Let a job know what it asks and of whom, and where it has been.

    Args:
        question: A row of (provider, model, body, routing).
    """
    job.provider, job.model, job.body = question.provider, question.model, question.body.encode()
    batch = job.batch.wants
    job.wants = merged(load_wants(question.routing), batch) if question.routing else batch
    job.path = path
