"""Traces: one span for every call to a provider, by OpenTelemetry's conventions for generative AI, without content.

Imported only where traces are to be sent; only what is said here is. The conventions are not stable yet
(https://opentelemetry.io/docs/specs/semconv/gen-ai/): their names are written out here, in one place.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import structlog

from batchmill.providers.names import ProviderName
from batchmill.requests.ids import public_request_id
from batchmill.requests.model import Endpoint
from batchmill.requests.work import Outcome
from batchmill.settings.traces import Sampler, TraceSettings
from batchmill.trace_parent import trace_parent

log = structlog.get_logger()

FLUSHED_WITHIN_S = 3.0
TELL_EVERY_S = 60.0
LONGEST_WORD = 300
"""So many characters of what the SDK says are told: it quotes whole answers."""
WITHHELD = "[withheld]"

OPERATIONS = {
    Endpoint.CHAT: "chat",
    Endpoint.RESPONSES: "chat",
    Endpoint.COMPLETIONS: "text_completion",
    Endpoint.EMBEDDINGS: "embeddings",
    Endpoint.MODERATIONS: "moderation",
}
"""The conventions' words; they have none for moderation."""
PROVIDERS = {ProviderName.GEMINI.value: "gcp.gemini"}
"""Those whose name in the conventions is not ours."""


class Tracer:
    """Makes spans of calls that have ended. One per process, made after the fork.

    Honest weakness: a span begins when its call is seen to have ended, less what it took; where answers are redacted
    before they are kept, it is late by that. One of a call that was cut off has no length. Beyond 2,048 spans that
    wait to be sent (OTEL_BSP_MAX_QUEUE_SIZE) the oldest are lost, which is logged.
    """

    def __init__(
        self, tracer: Any, close: Callable[[], None], now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._tracer = tracer
        self._close = close
        self._now_ns = now_ns

    def trace(self, outcome: Outcome) -> None:
        """Make the span of a call."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        attempt, reply = outcome.attempt, outcome.reply
        ended_ns = self._now_ns()
        parent = trace_parent.get()
        context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
        operation = OPERATIONS[attempt.job.batch.endpoint]
        span = self._tracer.start_span(
            f"{operation} {attempt.model}",
            context=context,
            kind=SpanKind.CLIENT,
            attributes=dict(known_before(outcome, operation)),
            start_time=ended_ns - reply.latency_ms * 1_000_000,
        )
        if span.is_recording():
            span.set_attributes(dict(known_after(outcome)))
            if reply.error_code:
                span.set_status(Status(StatusCode.ERROR))
        span.end(ended_ns)

    def close(self) -> None:
        """Send what is left, within a few seconds."""
        self._close()


def known_before(outcome: Outcome, operation: str) -> Iterator[tuple[str, Any]]:
    """What samplers may go by."""
    attempt = outcome.attempt
    batch = attempt.job.batch
    yield "gen_ai.operation.name", operation
    yield "gen_ai.provider.name", PROVIDERS.get(attempt.provider, attempt.provider)
    yield "gen_ai.request.model", attempt.model
    yield "batchmill.batch", batch.public_id
    yield "batchmill.request", public_request_id(batch.public_id, attempt.job.request_id)
    yield "batchmill.attempt", attempt.number
    yield "batchmill.lane", batch.lane.value
    yield "batchmill.tenant", batch.tenant


def known_after(outcome: Outcome) -> Iterator[tuple[str, Any]]:
    """What has come of a call."""
    reply, usage = outcome.reply, outcome.reply.usage
    yield "batchmill.verdict", reply.verdict.value
    if reply.error_code:
        yield "error.type", reply.error_code
    if reply.status_code is not None:
        yield "http.response.status_code", reply.status_code
    if reply.answer_model:
        yield "gen_ai.response.model", reply.answer_model
    if reply.finish_reason:
        yield "gen_ai.response.finish_reasons", [reply.finish_reason]
    if outcome.cost.nanos is not None:
        yield "batchmill.cost_nanos", outcome.cost.nanos
    if usage is not None:
        yield "gen_ai.usage.input_tokens", usage.input_tokens
        yield "gen_ai.usage.output_tokens", usage.output_tokens
        yield "gen_ai.usage.cache_read.input_tokens", usage.cached_tokens
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        yield "gen_ai.usage.cache_creation.input_tokens", written
        yield "gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens


def make_tracer(settings: TraceSettings, url: str) -> Tracer | None:
    """A tracer that sends to that URL; None, with a warning, where the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "traces_not_sent", error="OpenTelemetry is not installed", hint="pip install 'batchmill[otel]'"
        )
        return None
    headers = _headers(settings)
    _listen_to_the_sdk(tuple(headers.values()))
    exporter = OTLPSpanExporter(endpoint=url, headers=headers or None)
    own = {"service.name": settings.service_name, "service.version": version("batchmill")}
    # Not the global provider: whoever embeds us may have one, and nobody else's spans are ours to send.
    provider = TracerProvider(
        sampler=sampler_of(settings), resource=Resource.create(own), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def close() -> None:
        # The SDK would wait for half a minute, and longer for a collector that does not answer.
        closing = threading.Thread(target=provider.shutdown, daemon=True, name="close-traces")
        closing.start()
        closing.join(FLUSHED_WITHIN_S)
        if closing.is_alive():
            log.warning(
                "traces_not_sent", error=f"the collector took more than {FLUSHED_WITHIN_S:g} s at the end"
            )

    return Tracer(provider.get_tracer("batchmill", version("batchmill")), close)


def _headers(settings: TraceSettings) -> Mapping[str, str]:
    from opentelemetry.util.re import parse_env_headers

    if settings.headers is None:
        return {}
    return parse_env_headers(settings.headers.get_secret_value(), liberal=True)


def sampler_of(settings: TraceSettings) -> Any:
    """OpenTelemetry's own sampler of that name."""
    from opentelemetry.sdk.trace import sampling

    by_ratio = sampling.TraceIdRatioBased(settings.ratio)
    return {
        Sampler.ALWAYS_ON: sampling.ALWAYS_ON,
        Sampler.ALWAYS_OFF: sampling.ALWAYS_OFF,
        Sampler.RATIO: by_ratio,
        Sampler.PARENT_ALWAYS_ON: sampling.ParentBased(sampling.ALWAYS_ON),
        Sampler.PARENT_ALWAYS_OFF: sampling.ParentBased(sampling.ALWAYS_OFF),
        Sampler.PARENT_RATIO: sampling.ParentBased(by_ratio),
    }[settings.sampler]


class Relay(logging.Handler):
    """Tells what the SDK logs as events of ours, once a minute: a collector that is away makes it say so on and on."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__(logging.WARNING)
        self._secrets = secrets
        self._tell_at_s = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now_s = time.monotonic()
        if now_s < self._tell_at_s:
            return
        self._tell_at_s = now_s + TELL_EVERY_S
        said = record.getMessage()
        for secret in filter(None, self._secrets):
            said = said.replace(secret, WITHHELD)
        log.warning("traces_not_sent", error=said[:LONGEST_WORD])


def _listen_to_the_sdk(secrets: tuple[str, ...]) -> None:
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [Relay(secrets)]
    logger.propagate = False
