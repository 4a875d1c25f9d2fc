"""Waiting for a batch: it is looked at ever less often, a restart of the service is lived through, and told."""

import io
from decimal import Decimal

import orjson
import pytest
from rich.console import Console

from batchmill.client.batches import all_answered
from batchmill.client.errors import (
    BatchFailedError,
    NotEndedError,
    RequestsFailedError,
    ServiceUnreachableError,
    WaitTimeoutError,
)
from batchmill.client.progress import _row, describe
from batchmill.client.steps import LostError
from batchmill.client.views import BatchView, GeneratedText, generated_of, quote_of
from batchmill.client.waiting import waited
from tests.support.steps import Script, answer


class Watch:
    """A clock that goes on as one sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pass_(self, seconds: float) -> None:
        self.now_s += seconds


def batch(status: str, **more: object) -> dict:
    return {
        "id": "batch_b1",
        "status": status,
        "request_counts": {"total": 40, "completed": 12, "failed": 0},
    } | more


def told(status: str, **more: object) -> object:
    return answer(200, orjson.dumps(batch(status, **more)))


class Seen(list):
    """What was shown."""

    def __call__(self, view: BatchView, trouble: str) -> None:
        self.append((view.status, trouble))


def wait(answers: list, raw: dict | None = None, max_retries: int = 0, **options: object) -> tuple:
    watch, seen = Watch(), Seen()
    script = Script(answers, on_sleep=watch.pass_)
    steps = waited(raw or batch("validating"), show=seen, max_retries=max_retries, now=watch, **options)
    return script.play(steps), script, seen


def test_it_waits_for_the_end():
    """Every look is shown; what comes back is the batch as it ended."""
    raw, script, seen = wait([told("in_progress"), told("finalizing"), told("completed")])
    assert raw["status"] == "completed"
    assert [status for status, _ in seen] == ["in_progress", "finalizing", "completed"]
    assert script.asked == ["GET /v1/batches/batch_b1"] * 3


def test_a_batch_that_has_ended_is_not_looked_at():
    """What nothing more happens to is known."""
    _, script, _ = wait([], batch("cancelled"))
    assert script.asked == []


def test_looks_grow_rare():
    """A short batch is seen to end at once, a long one costs a look every two seconds at most."""
    _, script, _ = wait([told("in_progress")] * 30 + [told("completed")])
    assert script.slept[0] == 0.1
    assert script.slept == sorted(script.slept)
    assert script.slept[-1] == 2.0
    _, script, _ = wait([told("in_progress")] * 30 + [told("completed")], poll_s=0.05)
    assert set(script.slept) == {0.05}


def test_time_is_up():
    """It goes on, and that is said."""
    with pytest.raises(WaitTimeoutError, match="12 of 40") as raised:
        wait([told("in_progress")] * 99, timeout_s=3)
    assert isinstance(raised.value, TimeoutError)
    assert "goes on" in raised.value.hint


def test_a_restart_of_the_service_is_lived_through():
    """The batch goes on by itself, so there is nothing to give up; what is in the way is shown."""
    raw, _, seen = wait([LostError("reset")] * 5 + [told("completed")])
    assert raw["status"] == "completed"
    assert "reset" in seen[0][1]
    with pytest.raises(ServiceUnreachableError):
        wait([LostError("reset")] * 999, patience_s=60)


def test_a_batch_that_is_not_accepted_is_an_error():
    """Nobody has to look at its status to notice."""
    fault = {"code": "invalid_url", "message": "Wrong.", "line": 3, "param": "url"}
    with pytest.raises(BatchFailedError, match="line 3: Wrong") as raised:
        wait([told("failed", errors={"data": [fault]})])
    assert raised.value.batch_id == "batch_b1"


def test_failures_raise_on_demand():
    """A batch may end with requests that have no answer; who does not want that says so."""
    all_answered(batch("completed", request_counts={"total": 2, "completed": 2, "failed": 0}))
    with pytest.raises(RequestsFailedError, match="28 of 40"):
        all_answered(batch("expired"))
    with pytest.raises(NotEndedError):
        all_answered(batch("in_progress"))


def test_errors_survive_a_pickle():
    """They cross from process to process with all they say."""
    import pickle

    from batchmill.client.errors import LineFault, UnknownIdError

    error = pickle.loads(pickle.dumps(UnknownIdError("No.", "Hint.", 404, "gone", "id", "req_1")))
    assert (error.status, error.code, error.param, error.request_id) == (404, "gone", "id", "req_1")
    failed = pickle.loads(pickle.dumps(BatchFailedError("batch_b1", [LineFault(1, "c", "m")])))
    assert failed.errors == [LineFault(1, "c", "m")]


def test_how_far_it_is_in_words():
    """Counts, time left, hits, cost, failures; why it is paused; what is in the way."""
    raw = batch(
        "in_progress",
        eta=1_060,
        cached=6,
        cost_usd="0.0012",
        request_counts={"total": 4000, "completed": 1200, "failed": 3},
    )
    assert describe(BatchView(raw), now=1_000.0) == "1,203 of 4,000 · 1:00 left · 6 hits · $0.0012 · 3 failed"
    paused = describe(BatchView(raw | {"paused_reason": "the budget is used up"}), now=1_000.0)
    assert paused.endswith("· paused: the budget is used up")
    assert "left" not in paused
    assert describe(BatchView(batch("validating", request_counts=None))) == "validating · $0.00"
    assert describe(BatchView(raw), "no answer", now=1_000.0).endswith("no answer; trying on")


def test_a_batch_says_what_it_is():
    """Fields of OpenAI's and ours, typed; what is missing says nothing."""
    view = BatchView(batch("in_progress", cost_usd="1.25", unknown_attempts=2, metadata={"a": "b"}, eta=0))
    assert (view.cost_usd, view.unknown_attempts, view.metadata) == (Decimal("1.25"), 2, {"a": "b"})
    assert (view.counts.total, view.counts.ended, view.is_ended) == (40, 12, False)
    assert view.progress == 0.3
    assert repr(view) == "<BatchView batch_b1 in_progress 12 of 40>"
    bare = BatchView({"id": "batch_b1", "status": "validating"})
    assert (bare.cost_usd, bare.cached, bare.eta, bare.paused_reason, bare.errors) == (0, 0, None, None, [])
    assert (bare.priority, bare.job_name, bare.progress) == ("normal", "", 0.0)


def test_a_generated_text_comes_apart():
    """Text and provider, as a pair, beside all the rest."""
    headers = {
        "x-batchmill-provider": "anthropic",
        "x-batchmill-model": "claude",
        "x-batchmill-cost-usd": "0.000123",
        "x-batchmill-cached": "true",
    }
    answered = generated_of({"model": "m"}, headers, "Lima")
    text, provider = answered
    assert (text, provider) == ("Lima", "anthropic")
    assert (answered.model, answered.cost_usd, answered.cached) == ("claude", Decimal("0.000123"), True)
    assert generated_of({"model": "m"}, {"x-batchmill-cost-usd": "unknown"}, "") == GeneratedText(
        text="", provider="", model="m", cost_usd=None, cached=False, raw={"model": "m"}
    )


def test_a_quote():
    """The sums of `batchmill quote --json`."""
    total = {"expected_usd": "0.05", "most_usd": "0.10", "lines": 3, "calls": 2}
    quote = quote_of({"models": [], "total": total, "budgets": [], "fits": False})
    assert (quote.expected_usd, quote.most_usd, quote.lines, quote.calls, quote.fits) == (
        Decimal("0.05"),
        Decimal("0.10"),
        3,
        2,
        False,
    )
    assert quote_of({"total": {"expected_usd": None}}).expected_usd is None


def test_a_bar_shows_a_provider_s_words_as_they_are():
    """Brackets in what is told are no markup, and nothing in it steers the terminal."""
    view = BatchView(batch("in_progress", paused_reason="[bold]no credit[/bold]\x1b[2J"))
    shown = io.StringIO()
    Console(file=shown, width=120).print(_row(view, describe(view)))
    assert "12 of 40 · $0.00 · paused: [bold]no credit[/bold][2J" in shown.getvalue()
