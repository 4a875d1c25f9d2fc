"""The seam to a model provider: a call goes out, a reply comes back, never an exception.

A provider is one file: how a request is addressed, what its errors mean, where its usage is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from batchmill.limits.model import Quota
from batchmill.money.usage import Usage
from batchmill.requests.model import Endpoint

CALL_CANCELLED: Final = "call_cancelled"
"""The error code of a call that was cut off on our own side."""
NOT_MADE: Final = "not_sent"
"""The error code of a call that was written down and then not made."""
WORKER_LOST: Final = "worker_lost"
"""The error code of a call whose worker died."""
DEFAULT_OUTPUT_CAP_TOKENS: Final = 4_096


class Verdict(StrEnum):
    """What a reply means for the request it answers."""

    ANSWERED = "answered"
    """A whole answer, billed as its usage says."""
    RETRY = "retry"
    """A passing fault that was not billed: 500, 502, 503, 504, 529, slow_down, 200 with an error inside."""
    THROTTLED = "throttled"
    """Too fast; the same request is welcome after `retry_after_s`."""
    REFUSED = "refused"
    """The request itself is at fault and always will be: 400, 404, 413, 422, too large for the limit."""
    BLOCKED = "blocked"
    """The account is at fault: no such key, no credit, no permission. Nothing passes until its owner acts."""
    UNREACHABLE = "unreachable"
    """No connection was made, so nothing was sent or billed."""
    UNKNOWN = "unknown"
    """Sent, with no evidence of whether it was billed: timeout, reset, a 200 that cannot be read."""


class Listener(Protocol):
    """Somebody who wants an answer in pieces, as it comes."""

    @property
    def has_begun(self) -> bool:
        """Whether something has been heard: no other answer can take this one's place any more."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Their `stream_options`, as in OpenAI's requests."""
        ...

    def hear(self, event: bytes) -> None:
        """Take one server-sent event, byte for byte. Raises nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call about to go out.

    Attributes:
        body: JSON, sent as it is.
        client_request_id: Sent as `X-Client-Request-Id`, unique to this attempt.
        timeout_s: Bounds the whole call, from asking for a connection to the last byte received.
        account: Which of the provider's keys it goes out with, counted from 0.
        output_cap_tokens: The longest answer, for a provider that must be told one where the request says none.
        listener: Who wants the answer in pieces. A provider that cannot give it so lets them hear nothing.
        may_go: Asked with a connection in hand, just before the first byte is sent: whether the call is still to be
            made. None = it is. Whoever does not make its connections itself does not ask.
    """

    endpoint: Endpoint
    model: str
    body: bytes
    client_request_id: str
    timeout_s: float
    account: int = 0
    output_cap_tokens: int = DEFAULT_OUTPUT_CAP_TOKENS
    listener: Listener | None = None
    may_go: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of a call.

    Attributes:
        status_code: HTTP status; None when there was no HTTP answer.
        body: The answer as JSON, byte for byte where it was valid; None when there was none to read.
            Errors too, less the key.
        error_code: Machine-readable cause for every verdict but ANSWERED, "" for that one.
        error_message: The same for people; never holds a key.
        retry_after_s: How long the provider asks us to wait; None when it does not say.
        finish_reason: `stop`, `length`, `tool_calls`, `content_filter`, ...; "" where the endpoint knows none
            or the answer does not say. With several choices the first that is not a complete one.
        usage: What it used up, also where an error or an unreadable answer names it; None when not said:
            the cost is then unknown, not zero.
        answer_model: The model that the provider says answered; "" when it does not say.
        quotas: What the headers say of the provider's limits.
        is_empty: It is an answer that ended well and has nothing in it.
        latency_ms: From asking for a connection until after the last byte received.
    """

    verdict: Verdict
    status_code: int | None = None
    body: bytes | None = None
    error_code: str = ""
    error_message: str = ""
    retry_after_s: float | None = None
    provider_request_id: str = ""
    finish_reason: str = ""
    answer_model: str = ""
    usage: Usage | None = None
    quotas: tuple[Quota, ...] = ()
    is_empty: bool = False
    latency_ms: int = 0

    @property
    def is_of_a_call(self) -> bool:
        """Whether a call was made: a refusal without a status is our own, as is that of one whose moment never came."""
        is_our_refusal = self.verdict is Verdict.REFUSED and self.status_code is None
        return not is_our_refusal and self.error_code != NOT_MADE


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether a provider is there.

    Attributes:
        error_code: Machine-readable cause when it is not, or does not know the key; "" when all is well.
        error_message: The same for people; never holds a key.
    """

    latency_ms: int
    error_code: str = ""
    error_message: str = ""


class Provider(Protocol):
    """Sends calls to one provider. Used from one event loop only."""

    name: str

    def fault(self, call: Call) -> Exception | None:
        """What the provider cannot be asked of a call, as its text says; None when it can be sent."""
        ...

    async def call(self, call: Call) -> Reply:
        """Send one call and classify what comes back. Raises nothing but CancelledError."""
        ...

    async def probe(self, *, account: int = 0, timeout_s: float = 10.0) -> Probe:
        """Ask what costs nothing. Raises nothing but CancelledError."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
