"""A single request over HTTP: its own id, its caller's trace, and its call's batch go together."""

from pathlib import Path
from typing import Any

import structlog
from openai import AsyncOpenAI
from structlog.testing import LogCapture

from batchmill.logs import add_subject
from tests.support.collector import attributes, collecting
from tests.support.direct import Place, served

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_request_with_a_trace_of_its_own(tmp_path: Path) -> None:
    """The span of its call is a child of its caller's; the events of call and answer bear the id that it was told."""
    said = LogCapture()
    told: dict[str, Any] = {}

    async def ask(url: str, here: Place) -> None:
        structlog.configure(processors=[structlog.contextvars.merge_contextvars, add_subject, said])
        async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            answer = await client.chat.completions.with_raw_response.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": "hello"}],
                extra_headers={"traceparent": f"00-{TRACE}-{SPAN}-01"},
            )
            told.update(answer.headers)

    with collecting() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "BATCHMILL_LOG_REQUESTS": "all"}
        served(ask, f"sqlite:///{tmp_path}/mill.db", tmp_path, None, **variables)
    [span] = collector.spans()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
    [call] = [event for event in said.entries if event["event"] == "call_ended"]
    [answer] = [event for event in said.entries if event["event"] == "http_answered"]
    assert call["request_id"] == answer["request_id"] == told["x-request-id"]
    assert call["batch"] == attributes(span)["batchmill.batch"]
    assert call["request"] == attributes(span)["batchmill.request"]
    assert (answer["method"], answer["route"], answer["status"]) == ("POST", "/v1/chat/completions", 200)
