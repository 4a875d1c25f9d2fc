"""From what came over the wire to a `Reply`: which verdict, and what of it may be shown.

What errors mean is in `signals.py`, what answers hold in `answers.py`; this page puts them together.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import orjson

from batchmill.providers import answers, signals
from batchmill.providers.base import NOT_MADE, Probe, Reply, Verdict
from batchmill.providers.connection import (
    AnswerTooLargeError,
    BrokenAnswerError,
    DisconnectedError,
    Exchange,
    NotHttpError,
    TooLateError,
)
from batchmill.providers.wire import Answer, Wire
from batchmill.requests.model import Endpoint

MALFORMED: Final = "malformed_answer"
LONGEST_MESSAGE: Final = 500
"""Characters of an error message that are kept."""
EXCERPT_BYTES: Final = 8_192
"""Bytes of a page whose words may become a message."""

_SHORTEST_SECRET: Final = 8
_SECRET_SHAPES = re.compile(
    r"\b(?:sk|rk|pk|gsk|xai)-[\w\-]{8,}|\bAIza[\w\-]{16,}|(?i:bearer) [^\s\"',]{8,}|(?<=[?&]key=)[^\s\"'&,]{8,}"
)
_MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


_CAUSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (AnswerTooLargeError, "answer_too_large"),
    (TimeoutError, "request_timeout"),
    (DisconnectedError, "disconnected"),
    (BrokenAnswerError, "broken_answer"),
    (NotHttpError, MALFORMED),
    (OSError, "connection_reset"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyReader:
    """Turns the exchanges with one provider into replies.

    Attributes:
        wire: What the provider's answers and errors say.
        keys: Its API keys, scrubbed from whatever is shown of an error when they have 8 characters or more.
        clock: Seconds since the epoch.
    """

    wire: Wire
    keys: tuple[str, ...] = field(repr=False)
    clock: Callable[[], float]

    @property
    def name(self) -> str:
        """What messages call the provider."""
        return self.wire.name

    def read(self, endpoint: Endpoint, exchange: Exchange, latency_ms: int) -> Reply:
        """The reply that the exchange amounts to."""
        if exchange.status is None:
            return replace(self._silent(exchange), latency_ms=latency_ms)
        request_id = exchange.headers.get("x-request-id") or exchange.headers.get("request-id") or ""
        seen = _Seen(exchange.status, self._clean(request_id), latency_ms)
        reply = self._spoken(endpoint, exchange, seen)
        quotas = self.wire.quotas(exchange.headers)
        if reply.verdict is Verdict.ANSWERED:
            return replace(reply, quotas=quotas) if quotas else reply
        return replace(
            reply,
            status_code=seen.status,
            provider_request_id=seen.request_id,
            latency_ms=latency_ms,
            quotas=quotas,
        )

    def read_probe(self, exchange: Exchange, latency_ms: int) -> Probe:
        """Whether the exchange shows that the provider is there and knows the key."""
        if exchange.status is None:
            silent = self._silent(exchange)
            return Probe(
                latency_ms=latency_ms, error_code=silent.error_code, error_message=silent.error_message
            )
        if 200 <= exchange.status < 300:
            return Probe(latency_ms=latency_ms)
        try:
            answer, _ = answers.parse(exchange.body or b"")
        except ValueError:
            answer = self._excerpt(exchange.body or b"")
        error = self.wire.explain(exchange.status, answer)
        _, code = signals.classify(exchange.status, error, self.wire.meanings)
        return Probe(
            latency_ms=latency_ms, error_code=self._clean(code), error_message=self._clean(error.message)
        )

    def _silent(self, exchange: Exchange) -> Reply:
        """No status line came back."""
        trouble = exchange.trouble
        if exchange.connected:
            return self._lost(trouble)
        if isinstance(trouble, TooLateError):
            message = f"when there was a connection to {self.name}, it was too late to send the call"
            return Reply(verdict=Verdict.UNREACHABLE, error_code=NOT_MADE, error_message=message)
        code = "connect_timeout" if isinstance(trouble, TimeoutError) else "connect_failed"
        message = self._clean(f"no connection to {self.name}: {_describe(trouble)}")
        return Reply(verdict=Verdict.UNREACHABLE, error_code=code, error_message=message)

    def _spoken(self, endpoint: Endpoint, exchange: Exchange, seen: "_Seen") -> Reply:
        """A status line came back, and perhaps a body. A status that says no is believed without one."""
        status = seen.status
        fine = 200 <= status < 300
        if fine and exchange.body is None:
            return self._lost(exchange.trouble)
        raw = exchange.body or b""
        try:
            answer, body = answers.parse(raw)
        except ValueError:
            if fine:
                return self._malformed(endpoint, "is not JSON")
            return self._failed(endpoint, exchange, status, self._excerpt(raw), None)
        if not fine or signals.find_error(answer) is not None:
            return self._failed(endpoint, exchange, status, answer, body)
        said = self.wire.read(endpoint, answer, body)
        if said is None:
            return self._malformed(endpoint, "is no finished answer of its endpoint", answer, body)
        return _answered(endpoint, said, seen)

    def _lost(self, trouble: Exception | None) -> Reply:
        code = next((code for kind, code in _CAUSES if isinstance(trouble, kind)), "call_failed")
        message = self._clean(f"sent to {self.name}, but no whole answer came back: {_describe(trouble)}")
        return Reply(verdict=Verdict.UNKNOWN, error_code=code, error_message=message)

    def _malformed(
        self, endpoint: Endpoint, what: str, answer: Any = None, body: bytes | None = None
    ) -> Reply:
        return Reply(
            verdict=Verdict.UNKNOWN,
            error_code=MALFORMED,
            error_message=f"{self.name} says it answered, but the body {what}",
            body=self._without_keys(body),
            usage=self.wire.usage(endpoint, answer),
        )

    def _failed(
        self, endpoint: Endpoint, exchange: Exchange, status: int, answer: Any, body: bytes | None
    ) -> Reply:
        """An error, by its status or inside a 200; usage is kept where a 200 names it."""
        error = self.wire.explain(status, answer)
        verdict, code = signals.classify(status, error, self.wire.meanings)
        message = error.message or f"{self.name} answered {code}"
        if code == signals.REDIRECTED:
            target = exchange.headers.get("location", "another address")
            message = f"{self.name} redirects to {target}: mend its base URL"
        waits = verdict in (Verdict.RETRY, Verdict.THROTTLED)
        return Reply(
            verdict=verdict,
            body=self._without_keys(self.wire.error_body(error, body)),
            error_code=self._clean(code),
            error_message=self._clean(message),
            retry_after_s=signals.retry_after_s(exchange.headers, message, self.clock(), error.retry_after_s)
            if waits
            else None,
            usage=self.wire.usage(endpoint, answer) if status < 300 else None,
        )

    def _clean(self, text: str) -> str:
        """One bounded line without a key; scrubbed before it is cut, so that no half of a key remains."""
        for key in self._secrets():
            text = text.replace(key, "[key]")
        text = " ".join(_SECRET_SHAPES.sub("[key]", text).split())
        return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"

    def _excerpt(self, body: bytes) -> Mapping[str, str]:
        """The first words of a body that is no JSON, a proxy's page mostly, as an answer with a message."""
        words = (self._without_keys(body) or b"")[:EXCERPT_BYTES].decode("utf-8", "replace")
        return {"message": " ".join(_MARKUP.sub(" ", words).split())}

    def _without_keys(self, body: bytes | None) -> bytes | None:
        r"""The same bytes, less the keys. A key may be written `a\/b` in JSON: then it is all written anew, without."""
        if body is None:
            return None
        body = self._scrubbed(body)
        if b"\\" not in body:
            return body
        try:
            plain = orjson.dumps(orjson.loads(body))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return body
        scrubbed = self._scrubbed(plain)
        return body if scrubbed == plain else scrubbed

    def _scrubbed(self, body: bytes) -> bytes:
        for key in self._secrets():
            body = body.replace(key.encode(), b"[key]")
        return body

    def _secrets(self) -> Iterator[str]:
        return (key for key in self.keys if len(key) >= _SHORTEST_SECRET)


class _Seen(NamedTuple):
    """What is known of an HTTP answer before its body is read."""

    status: int
    request_id: str
    latency_ms: int


def _answered(endpoint: Endpoint, answer: Answer, seen: _Seen) -> Reply:
    content, body = answer
    own_id = content.get("id")
    return Reply(
        verdict=Verdict.ANSWERED,
        status_code=seen.status,
        latency_ms=seen.latency_ms,
        body=body,
        provider_request_id=seen.request_id or (own_id[:LONGEST_MESSAGE] if isinstance(own_id, str) else ""),
        finish_reason=answers.read_finish_reason(endpoint, content),
        answer_model=answers.read_model(content),
        usage=answers.read_usage(endpoint, content),
        is_empty=answers.is_empty(endpoint, content),
    )


def _describe(trouble: Exception | None) -> str:
    if isinstance(trouble, TimeoutError):
        return "out of time"
    return str(trouble) or type(trouble).__name__
