"""What a request and a batch are: their words, states and options."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from batchmill.budgets.model import OnLimit


class Lane(StrEnum):
    """The queue a batch travels in, fastest first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Endpoint(StrEnum):
    """The provider endpoints a batch may address, in OpenAI's words."""

    CHAT = "/v1/chat/completions"
    RESPONSES = "/v1/responses"
    EMBEDDINGS = "/v1/embeddings"
    COMPLETIONS = "/v1/completions"
    MODERATIONS = "/v1/moderations"


class RequestState(StrEnum):
    """pending → claimed → done | failed | cancelled | expired; waiting = another request asks the same."""

    PENDING = "pending"
    CLAIMED = "claimed"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = (RequestState.DONE, RequestState.FAILED, RequestState.CANCELLED, RequestState.EXPIRED)
"""States that no request leaves again."""


class AttemptState(StrEnum):
    """sent → settled | unknown; unknown = sent, and no evidence of what it cost."""

    SENT = "sent"
    SETTLED = "settled"
    UNKNOWN = "unknown"


class BatchState(StrEnum):
    """validating → failed | in_progress → finalizing → completed | cancelled | expired.

    in_progress ⇄ paused, by a budget or by hand.
    """

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class CacheMode(StrEnum):
    """When an answer given before may be used again."""

    AUTO = "auto"
    """Unless the request itself asks for variety: temperature > 0 without a seed, or n > 1."""
    ON = "on"
    OFF = "off"
    REFRESH = "refresh"
    """Ask anew, and keep the new answer unless the request asks for variety."""


class OnUnknown(StrEnum):
    """What becomes of a request whose call may or may not have been answered and billed."""

    RETRY = "retry"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What the producer asks of a whole batch.

    Attributes:
        routing: What all its lines want of routing, as JSON (`routing.wants`).
        budget_nanos: The most that all its calls may cost; None = no budget of its own.
        on_budget: What becomes of its lines at the limit of a budget; None leaves it to the budget.
    """

    lane: Lane = Lane.NORMAL
    cache: CacheMode = CacheMode.AUTO
    on_unknown: OnUnknown = OnUnknown.RETRY
    job_name: str = ""
    request_type: str = ""
    tenant: str = "local"
    user: str = ""
    agent: str = ""
    budget_nanos: int | None = None
    on_budget: OnLimit | None = None
    routing: str = ""


class RequestLine(NamedTuple):
    """One valid line of the input. A tuple, as there are millions: it is made in half the time of a dataclass.

    Attributes:
        line: Its 1-based number in the input, blank lines counted.
        custom_id: The producer's own name for it, unique in the batch.
        body: What goes to the provider, every field kept.
        request_type: What kind of question it is; "" = its batch's.
        provider: Who is asked; "" where the choice of model is left to us.
        routing: What its line wants of routing, as JSON (`routing.wants`); "" = nothing of its own.
    """

    line: int
    custom_id: str
    endpoint: Endpoint
    model: str
    body: Mapping[str, Any]
    request_type: str = ""
    provider: str = "openai"
    routing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    """Why a line of the input is no valid request, in OpenAI's words.

    Attributes:
        line: 1-based number in the input; None when the error is of the file as a whole.
        param: The field at fault, `body.model` for instance; None when there is no single one.
    """

    line: int | None
    code: str
    message: str
    param: str | None = None


def told_bad(lines: Collection[int | None]) -> str:
    """How many lines are bad, to begin a sentence: "2,000 lines are"; their numbers are given, or None for the file."""
    if set(lines) == {None}:
        return "the file is"
    return "1 line is" if len(lines) == 1 else f"{len(lines):,} lines are"
