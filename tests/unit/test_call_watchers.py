"""What is told of calls: by which switch, and what never."""

import logging
import sys
from dataclasses import replace

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from structlog.testing import capture_logs

from batchmill.errors import SettingsError
from batchmill.logs import about_request, add_subject
from batchmill.pipeline import NOT_SENT
from batchmill.providers.base import Reply
from batchmill.request_log import AccessLog, CallLog
from batchmill.requests.ids import request_id
from batchmill.settings.groups import LogRequests
from batchmill.settings.load import load_settings
from batchmill.tracing import Relay, known_after, known_before, sampler_of
from tests.support.replies import ANSWERED, FAULTY, REFUSED, UNKNOWN
from tests.unit.test_judge import attempt, judge
from workers.assembly import make_watchers
from workers.watchers import Watchers


def told_of(which: LogRequests, *replies: Reply) -> list[str]:
    """The verdicts of the calls that are logged."""
    watchers = Watchers(log=CallLog(which))
    with capture_logs() as events:
        for reply in replies:
            watchers.tell(judge.judge(attempt(), reply))
    return [str(event["verdict"]) for event in events]


def test_which_calls_are_logged() -> None:
    """All, or those that were not answered; of one that was never made there is nothing to say."""
    replies = (ANSWERED, REFUSED, FAULTY, UNKNOWN, NOT_SENT, replace(REFUSED, status_code=None))
    assert told_of(LogRequests.ALL, *replies) == ["answered", "refused", "retry", "unknown"]
    assert told_of(LogRequests.ERRORS, *replies) == ["refused", "retry", "unknown"]


def test_nothing_of_what_was_said_is_logged() -> None:
    """Neither an answer nor the words of an error, which may quote the question."""
    with capture_logs() as events:
        for reply in (ANSWERED, replace(REFUSED, error_message="four")):
            Watchers(log=CallLog(LogRequests.ALL)).tell(judge.judge(attempt(), reply))
    assert len(events) == 2
    assert "four" not in repr(events)


@pytest.mark.parametrize(
    ("which", "logged"),
    [(LogRequests.ALL, [200, 404, None]), (LogRequests.ERRORS, [404, None])],
)
def test_which_requests_over_http_are_logged(which: LogRequests, logged: list[int | None]) -> None:
    """All, or those that went wrong or were left."""
    with capture_logs() as events:
        for status in (200, 404, None):
            AccessLog(which).write("GET", "/v1/batches/{batch_id}", status, 3)
    assert [event["status"] for event in events] == logged


def test_off_is_nobody() -> None:
    """By default nobody is told, so that a call costs one look whether there is somebody."""
    assert make_watchers(load_settings({}, None)) is None
    disabled = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
    assert make_watchers(load_settings(disabled, None)) is None


def test_traces_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are warned of, and work goes on: the variable is often set for a whole machine."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with capture_logs() as events:
        assert (
            make_watchers(load_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, None)) is None
        )
    assert [(event["event"], event["hint"]) for event in events] == [
        ("traces_not_sent", "pip install 'batchmill[otel]'")
    ]


def test_names_are_those_of_the_conventions() -> None:
    """Every `gen_ai.` attribute is one that OpenTelemetry's own list has, by that name."""
    outcome = judge.judge(attempt(), replace(ANSWERED, answer_model="gpt-4o-mini-2024-07-18"))
    ours = {name for name, _ in [*known_before(outcome, "chat"), *known_after(outcome)]}
    theirs = {value for value in vars(gen_ai_attributes).values() if isinstance(value, str)}
    assert {name for name in ours if name.startswith("gen_ai.")} <= theirs
    assert len([name for name in ours if name.startswith("gen_ai.")]) == 10


@pytest.mark.parametrize(("ratio", "is_traced"), [("0", False), ("1", True)])
def test_the_sampler_of_the_settings_is_obeyed(ratio: str, is_traced: bool) -> None:
    """By the standard variables, in its own words."""
    variables = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio}
    sampler = sampler_of(load_settings(variables, None).traces)
    assert sampler.should_sample(None, 1, "chat gpt-4o-mini").decision.is_sampled() is is_traced


def test_a_sampler_that_nobody_knows() -> None:
    """It stops the start, by the name of its variable."""
    with pytest.raises(SettingsError, match="OTEL_TRACES_SAMPLER"):
        load_settings({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, None)


def test_a_watcher_that_fails_stops_nothing() -> None:
    """What goes wrong with telling is told itself; the request is none the worse."""
    outcome = judge.judge(attempt(), ANSWERED)
    with capture_logs() as events:
        Watchers(log=None, tracer="no tracer").tell(outcome)  # type: ignore[arg-type]
    assert [event["event"] for event in events] == ["call_not_told"]


def test_events_say_what_they_are_about() -> None:
    """The ids of batch and request, as results show them; what an event says itself counts more."""
    about_request("batch_ab12", request_id(7, 3))
    event = add_subject(None, "info", {"event": "answer_not_read", "batch": "batch_other"})
    assert (event["batch"], event["request"]) == ("batch_other", "batch_req_ab12_3")


def test_what_the_sdk_says_is_told_now_and_then() -> None:
    """Once a minute, without the collector's key; not once for each batch of spans."""
    relay = Relay(("k-3fa1c07d55",))
    record = logging.LogRecord("opentelemetry", logging.ERROR, "", 0, "no: %s", ("k-3fa1c07d55",), None)
    with capture_logs() as events:
        relay.emit(record)
        relay.emit(record)
    assert [event["error"] for event in events] == ["no: [withheld]"]
