"""A request on its way through a worker: claimed as a job, sent as an attempt, ended by an outcome."""

from dataclasses import dataclass

from batchmill.money.prices import Cost
from batchmill.providers.base import Reply
from batchmill.requests.model import AttemptState, CacheMode, Endpoint, Lane, OnUnknown, RequestState

FIRST = "first"
"""Why the first attempt of a request is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """What a worker needs to know of the batch that a request belongs to; it never changes."""

    id: int
    public_id: str
    lane: Lane
    endpoint: Endpoint
    tenant: str
    user: str
    agent: str
    request_type: str
    cache: CacheMode
    on_unknown: OnUnknown
    started_ms: int


@dataclass(slots=True, kw_only=True)
class Job:
    """A claimed request. Whoever holds it may call for it while the claim's lease lasts.

    Attributes:
        request_type: Its own, or its batch's.
        cache_key: None when its answer may be neither taken from the cache nor shared.
        attempts: Calls made for it so far, however they ended.
        tries: The part of them that counts against the limit of tries.
        throttles: The part of them that the provider turned away as too fast.
        reason: Why the next attempt is made: `first`, or what ended the one before.
    """

    request_id: int
    batch: BatchFacts
    claim_id: int
    cache_key: str | None
    attempts: int = 0
    tries: int = 0
    throttles: int = 0
    reason: str = FIRST
    request_type: str = ""
    model: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call that has been recorded as sent, and therefore may now be made."""

    id: int
    job: Job
    number: int
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended and what becomes of its request.

    Attributes:
        state: DONE or FAILED (the reply is its answer), or PENDING (it is tried again after `delay_ms`).
        attempt_state: SETTLED, or UNKNOWN when nothing tells whether the call was billed.
        keep_for_ms: How long the reply may answer the same request again; 0 = not at all.
        pause_reason: Set when the whole batch has to wait for its owner.
    """

    attempt: Attempt
    reply: Reply
    cost: Cost
    state: RequestState
    attempt_state: AttemptState
    delay_ms: int = 0
    tries: int = 0
    throttles: int = 0
    keep_for_ms: int = 0
    pause_reason: str = ""
