"""Logs and traces of a real run: what is said of each call, by which ids, and that nothing it says is in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import attributes, collecting
from tests.support.mill import Mill, chat_line, sandbox, write_lines

SECRET = "xylophone-of-the-czar"
COLLECTORS_KEY = "k-3fa1c07d55"


@pytest.fixture
def source(mill: Mill, tmp_path: Path) -> Path:
    """Three lines: one is answered, one at the second call, one never."""
    mill.environ |= {"BATCHMILL_BACKOFF_BASE_S": "0.02", "BATCHMILL_LOG_LEVEL": "debug"}
    models = {"good": "gpt-4o-mini", "late": "sandbox/flaky-1", "bad": "sandbox/400"}
    lines = [chat_line(f"{SECRET} {id_}", f"{SECRET} {id_}", model=model) for id_, model in models.items()]
    return write_lines(tmp_path / "in.jsonl", lines)


def events(mill: Mill) -> list[dict[str, Any]]:
    """What the workers said, Celery's own word of its end aside."""
    return [json.loads(line) for line in mill.worker_log().splitlines() if line.startswith("{")]


def run(mill: Mill, tmp_path: Path, source: Path) -> str:
    """Run it; the public name of its batch."""
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        mill("run", source, "-o", tmp_path / "out.jsonl")
        assert len(provider.calls()) == 4
    [(batch,)] = mill.query("SELECT public_id FROM batches")
    return str(batch)


def test_a_run_that_is_logged_and_traced(mill: Mill, tmp_path: Path, source: Path) -> None:
    """Every call is an event and a span by the ids of its batch and request; no word of question, answer or key."""
    mill.environ["BATCHMILL_LOG_REQUESTS"] = "all"
    with collecting() as collector:
        mill.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={COLLECTORS_KEY}",
            "OTEL_SERVICE_NAME": "our mill",
        }
        batch = run(mill, tmp_path, source)
    requests = {f"batch_req_{batch.removeprefix('batch_')}_{place}" for place in (1, 2, 3)}
    said = [event for event in events(mill) if event["event"] == "call_ended"]
    assert sorted((event["model"], event["attempt"], event["verdict"], event["level"]) for event in said) == [
        ("gpt-4o-mini", 1, "answered", "info"),
        ("sandbox/400", 1, "refused", "warning"),
        ("sandbox/flaky-1", 1, "retry", "warning"),
        ("sandbox/flaky-1", 2, "answered", "info"),
    ]
    assert {event["batch"] for event in said} == {batch}
    assert {event["request"] for event in said} == requests
    assert all(event["worker"] and event["latency_ms"] >= 0 for event in said)
    good = next(event for event in said if event["model"] == "gpt-4o-mini")
    assert min(good["cost_nanos"], good["output_tokens"]) > 0
    assert good["status"] == 200
    assert SECRET not in mill.worker_log()

    assert {path for path, _, _ in collector.posts} == {"/v1/traces"}
    assert {headers["x-key"] for _, headers, _ in collector.posts} == {COLLECTORS_KEY}
    assert collector.services() == {"our mill"}
    spans = {(span.name, attributes(span)["batchmill.attempt"]): span for span in collector.spans()}
    assert sorted(spans) == [
        ("chat gpt-4o-mini", 1),
        ("chat sandbox/400", 1),
        ("chat sandbox/flaky-1", 1),
        ("chat sandbox/flaky-1", 2),
    ]
    told = {name: attributes(span) for name, span in spans.items()}
    assert {each["batchmill.batch"] for each in told.values()} == {batch}
    assert {each["batchmill.request"] for each in told.values()} == requests
    first = told["chat gpt-4o-mini", 1]
    assert first["gen_ai.operation.name"] == "chat"
    assert first["gen_ai.provider.name"] == "openai"
    assert first["gen_ai.request.model"] == "gpt-4o-mini"
    assert first["gen_ai.response.model"]
    assert first["gen_ai.response.finish_reasons"] == ["stop"]
    assert first["gen_ai.usage.input_tokens"] == good["input_tokens"]
    assert first["gen_ai.usage.output_tokens"] == good["output_tokens"]
    assert first["batchmill.cost_nanos"] == good["cost_nanos"]
    span = spans["chat gpt-4o-mini", 1]
    assert span.kind == span.SPAN_KIND_CLIENT
    assert (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000 == good["latency_ms"]
    failed = {name: each["error.type"] for name, each in told.items() if "error.type" in each}
    by_call = {(event["model"], event["attempt"]): event["error"] for event in said if event["error"]}
    assert failed == {(f"chat {model}", nth): error for (model, nth), error in by_call.items()}
    assert {name for name, each in spans.items() if each.status.code == each.status.STATUS_CODE_ERROR} == set(
        failed
    )
    assert not [body for _, _, body in collector.posts if SECRET.encode() in body]
