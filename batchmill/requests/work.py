"""A request on its way through a worker: claimed as a job, sent as an attempt, ended by an outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from batchmill.budgets.model import OnLimit
from batchmill.money.prices import Cost
from batchmill.providers.base import Listener, Reply
from batchmill.requests.model import (
    AttemptState,
    BatchOptions,
    CacheMode,
    Endpoint,
    Lane,
    OnUnknown,
    RequestState,
)
from batchmill.routing.names import Target
from batchmill.routing.path import EMPTY, Path, Step
from batchmill.routing.wants import NOTHING, Wants, load_wants

FIRST = "first"
"""Why the first attempt of a request is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """What a worker needs to know of the batch that a request belongs to; it never changes.

    Attributes:
        on_budget: What becomes of its lines at the limit of a budget; None = what the budget says.
        wants: What its lines want of routing, unless they say so themselves.
    """

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
    on_budget: OnLimit | None = None
    wants: Wants = NOTHING

    @classmethod
    def of(
        cls, options: BatchOptions, *, endpoint: Endpoint, started_ms: int, id: int = 0, public_id: str = ""
    ) -> "BatchFacts":
        """The facts of a batch that was asked for so; without a number and a name it is one that is only thought of."""
        return cls(
            id=id,
            public_id=public_id,
            lane=options.lane,
            endpoint=endpoint,
            tenant=options.tenant,
            user=options.user,
            agent=options.agent,
            request_type=options.request_type,
            cache=options.cache,
            on_unknown=options.on_unknown,
            started_ms=started_ms,
            on_budget=options.on_budget,
            wants=load_wants(options.routing),
        )


@dataclass(slots=True, kw_only=True)
class Job:
    """A claimed request. Whoever holds it may call for it while the claim's lease lasts.

    Attributes:
        request_type: Its own, or its batch's.
        cache_key: None when its answer may be neither taken from the cache nor shared.
        provider: Who is asked; "" where the choice of model is ours.
        attempts: Calls made for it so far, however they ended.
        tries: The part of them that counts against the limit of tries, of those to the model that it is at now.
        throttles: The part of them that the provider turned away as too fast.
        reason: Why the next attempt is made: `first`, or what ended the one before.
        wants: What it wants of routing, its batch's wishes included.
        path: Whom it has been to, and could not go to, so far.
        is_path_new: The path has steps that are not written down yet.
        called: How often each model was called for it so far.
        until_ms: When whoever waits for its answer no longer does: no call of it lasts longer.
        listener: Who wants its answer in pieces.
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
    provider: str = "openai"
    model: str = ""
    body: bytes = b""
    wants: Wants = NOTHING
    path: Path = EMPTY
    is_path_new: bool = False
    called: Mapping[Target, int] = field(default_factory=dict)
    until_ms: int | None = None
    listener: Listener | None = None

    @property
    def asked(self) -> Target:
        """Whom it is for."""
        return Target(provider=self.provider, model=self.model)

    def note(self, step: Step) -> None:
        """Add a step to its path."""
        self.path = self.path.added(step)
        self.is_path_new = True


class Bounded(StrEnum):
    """How it was found out what a call can cost."""

    NOT = "not"
    """It was not: needless while no budget covers it."""
    ROUGHLY = "roughly"
    """By the length of what is sent. Several times too much, but soon done, and good enough while there is room."""
    CLOSELY = "closely"
    """By counting, where that is possible. Only so is it told that there is no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way to have a request answered.

    Attributes:
        body: What would be sent.
        cache_key: What the same question is known by when it is put to just this model; None where that is the
            request's own key, or its answer may not be shared.
        hold_nanos: The most it can cost; None = no price is known.
    """

    provider: str
    model: str
    body: bytes
    bounded: Bounded = Bounded.NOT
    cache_key: str | None = None
    hold_nanos: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Provider and model."""
        return self.provider, self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A call about to be made.

    Attributes:
        cheaper: What may be asked instead where a budget wants that, the dearest first; None = not found out yet.
        has_next: See `Attempt`.
        is_lone: There is nobody else whom it could be put to.
    """

    job: Job
    asked: Candidate
    cheaper: tuple[Candidate, ...] | None = None
    has_next: bool = False
    is_lone: bool = False


class Why(StrEnum):
    """Why a call must not be made, or not yet."""

    STANDS_STILL = "stands_still"
    """The lease is lost, or the batch no longer runs."""
    UNBOUNDED = "unbounded"
    """A budget covers it, and nobody has said what it can cost."""
    ROUGH = "rough"
    """It would not fit at what it was roughly said to cost; it may at what it can cost really."""
    UNPRICED = "unpriced"
    """A budget covers it, and nobody knows what it can cost."""
    TIGHT = "tight"
    """It does not fit into a budget now; but calls in flight may come cheaper than what is held for them."""
    EXHAUSTED = "exhausted"
    """It does not fit into a budget, and would not if every call in flight came for nothing."""
    CHEAPER = "cheaper"
    """The budget wants a cheaper model asked."""
    FULL = "full"
    """So many wait for its model's limits already that it had better come back."""
    TOO_LARGE = "too_large"
    """It is larger than a limit of its model: no waiting helps."""
    CLOSED = "closed"
    """Its model does not answer at the moment: the circuit is open."""
    ANSWERED = "answered"
    """The cache has an answer of this very model: the request has got it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A call that is not made.

    Attributes:
        budget_id: The row of the budget that stands in its way; 0 without one.
        needs_nanos: The most that the call can cost, or the cheapest of those that would do in its place; None = that
            is not known.
        then: What is to become of its line.
        is_of_some_lines: The budget may not cover other lines of the batch: it is one of a model, a type, a provider.
        is_in_use: Calls in flight hold some of the budget: smaller ones may fit when that comes back.
        until_ms: When asking again is worthwhile, where that is known.
        reason: Which budget, how far it is used, and what would help; for people.
    """

    why: Why
    budget_id: int = 0
    needs_nanos: int | None = None
    then: OnLimit = OnLimit.PAUSE
    is_of_some_lines: bool = False
    is_in_use: bool = False
    until_ms: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandBack:
    """A job that goes back unsent.

    Attributes:
        delay_ms: After this it may be claimed again.
        withheld: The budget that its whole batch has to wait for.
    """

    job: Job
    delay_ms: int = 0
    withheld: Withheld | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A job whose line fails without a call."""

    job: Job
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call that has been recorded as sent, and therefore may now be made.

    Attributes:
        body: What is sent.
        cache_key: See `Candidate`.
        has_next: There is another model that may be asked if this one does not answer.
        held_nanos: What is held for it; None = no budget covers it.
    """

    id: int
    job: Job
    number: int
    provider: str
    model: str
    body: bytes = b""
    cache_key: str | None = None
    has_next: bool = False
    held_nanos: int | None = None

    @property
    def target(self) -> Target:
        """Whom it goes to."""
        return Target(provider=self.provider, model=self.model)

    @property
    def nth_there(self) -> int:
        """The how-manieth call of its request to its model it is."""
        if self.job.called:
            return 1 + self.job.called.get(self.target, 0)
        return max(1, self.number - self.job.path.calls_to_others)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every question that its answer is one to. What another model than the one asked for says is none to that."""
        job, own = self.job, () if self.cache_key is None else (self.cache_key,)
        if job.cache_key is None or (
            job.provider and (job.provider, job.model) != (self.provider, self.model)
        ):
            return own
        return (job.cache_key, *own)


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

    @property
    def answers_its_question(self) -> bool:
        """Whether the reply is one to the very question of its request, and so to all who ask the same."""
        return self.attempt.job.cache_key in self.attempt.keys
