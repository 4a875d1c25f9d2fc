"""What is limited, what a call asks for, and when it may leave."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

HORIZON_S: Final = 1.0
"""A permit is for now or for a moment at most so far ahead."""

LEASE_S: Final = 15.0
"""How long a slot of the concurrency outlives its holder."""

RENEW_EVERY_S: Final = 2.0
"""How often a holder is to renew: after a FLUSHALL no slot is given away for as long."""


class Dimension(StrEnum):
    """What a provider limits: a number in a minute, or calls at once."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    """Input and output together."""
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    CONCURRENCY = "concurrency"


TOLD: Final = "told"
"""What a call waits for where the provider itself has said how long."""

RATES: Final = (Dimension.REQUESTS, Dimension.TOKENS, Dimension.INPUT_TOKENS, Dimension.OUTPUT_TOKENS)
"""Those that are counted by the minute, in the order of every list of costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most of each dimension; None where it is not known.

    Attributes:
        requests: In a minute, from 1.
        tokens: Input and output together in a minute.
        input_tokens: In a minute.
        output_tokens: In a minute.
        concurrency: Calls at once.

    Raises:
        ValueError: One is below 1.
    """

    requests: int | None = None
    tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for dimension in Dimension:
            limit = self.of(dimension)
            if limit is not None and limit < 1:
                raise ValueError(f"a limit of {limit} {dimension.value} lets nothing through; the least is 1")

    def of(self, dimension: Dimension) -> int | None:
        """The limit of one dimension."""
        limit: int | None = getattr(self, dimension.value)
        return limit

    def __bool__(self) -> bool:
        rates = self.requests is self.tokens is self.input_tokens is self.output_tokens is None
        return not (rates and self.concurrency is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What a limit is for: an account at a provider, or one of its models.

    Attributes:
        name: The same in every process: `openai/key-1`, `openai/key-1/gpt-4o-mini`.
        limits: As the owner set them; what is None is learned from the provider.
    """

    name: str
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The tokens of one call, as the provider counts them at its arrival."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def costs(self) -> tuple[int, int, int, int]:
        """By dimension, in the order of `RATES`."""
        return (1, self.input_tokens + self.output_tokens, self.input_tokens, self.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """May this call leave?

    Attributes:
        permit: Names the call; unique while it is asked for and out.
        buckets: All that it counts in, the widest first.
    """

    permit: str
    buckets: tuple[Bucket, ...]
    demand: Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """When a call may leave.

    Attributes:
        granted: True once its start is reserved. It is counted from then on, whether it leaves or not.
        never: It is larger than a limit itself; no waiting helps.
        starts_in_s: From 0 to `HORIZON_S`, counted from when the answer was made.
        starts_at_s: The same as a moment of the event loop's clock. Who misses it asks anew.
        retry_after_s: When asking again succeeds, if nobody else comes meanwhile; 0 when granted or never.
            For a slot of the concurrency it is a guess: one may be given back at any time.
        limit: What it has to wait for: a dimension, or `TOLD`; "" where it need not.
    """

    granted: bool
    never: bool = False
    starts_in_s: float = 0.0
    starts_at_s: float = 0.0
    retry_after_s: float = 0.0
    limit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a provider's headers say of one limit.

    Attributes:
        bucket: The bucket's name; "" for the narrowest of the call.
        remaining: At the moment the call arrived, the call itself counted; None where it is not said.
        reset_s: Until the provider has forgotten all of it; None where it is not said.
    """

    dimension: Dimension
    limit: int
    remaining: int | None = None
    reset_s: float | None = None
    bucket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How a granted call ended; with nothing but the permit, it only gives its slot back.

    Attributes:
        actual: What the provider counted in the end; None leaves what was planned.
        throttled: It was refused as too fast (429).
        throttled_bucket: Whose limit that was; "" for the narrowest of the call.
        retry_after_s: How long the provider wants to hear nothing; None when it does not say.
        quotas: What its headers say.
    """

    permit: str
    actual: Demand | None = None
    throttled: bool = False
    throttled_bucket: str = ""
    retry_after_s: float | None = None
    quotas: tuple[Quota, ...] = ()


class Limiter(Protocol):
    """Lets calls leave at the rate that all their buckets allow, taken together or not at all.

    Used from one event loop. Every granted permit is to be settled by the limiter that granted it.
    """

    async def admit(self, asks: Sequence[Ask]) -> list[Admission]:
        """Answer each ask, in their order; what is behind another in the same bucket does not pass it."""
        ...

    def lets_through(self, buckets: Sequence[Bucket]) -> bool:
        """Whether nothing limits a call in these buckets, as far as is known now: it need not be asked for."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give slots back, and learn from how calls ended. A permit that is not out is passed over."""
        ...

    async def renew(self, permits: Collection[str]) -> None:
        """Keep the slots of calls still out for another `LEASE_S`; to be called every `RENEW_EVERY_S`."""
        ...

    def divide(self, among: int) -> None:
        """From now on so many processes divide the limits between them, where they cannot be shared."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
