"""The meter: what happens to calls, under names that stay few whatever producers and providers say."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from batchmill.metering import families
from batchmill.metering.family import Family
from batchmill.metering.meter import MOST_MODELS, OTHERS, Meter, error_type, selection, what_next
from batchmill.metering.tally import MOST_SERIES, Tally
from batchmill.money.usage import Usage
from batchmill.providers.base import NOT_MADE, Reply, Verdict
from batchmill.requests.model import Endpoint, RequestState
from batchmill.requests.work import Attempt, BatchFacts, Job, Outcome, Why, Withheld
from batchmill.routing.names import Target
from batchmill.routing.path import EMPTY, Path, Step, What
from tests.support.replies import ANSWERED, make_judge

REFUSED = Reply(verdict=Verdict.REFUSED, status_code=404, error_code="model_not_found", latency_ms=3)
OVERLOADED = Reply(verdict=Verdict.RETRY, status_code=503, error_code="overloaded", latency_ms=40)
BATCH = BatchFacts(
    id=1,
    public_id="batch_1",
    lane="normal",
    endpoint=Endpoint.CHAT,
    tenant="t",
    user="",
    agent="",
    request_type="",
    cache="auto",
    on_unknown="retry",
    started_ms=0,
)


def outcome(reply: Reply, model: str = "gpt-4o", *, asked: str = "gpt-4o", path: Path = EMPTY) -> Outcome:
    """How a call to a model has ended, for a request that asks for some model."""
    provider = "openai" if asked else ""
    job = Job(
        request_id=1, batch=BATCH, claim_id=1, cache_key=None, provider=provider, model=asked, path=path
    )
    return make_judge().judge(Attempt(id=1, job=job, number=1, provider="openai", model=model), reply)


def counted(meter: Meter, family: Family) -> dict[tuple[str, ...], float]:
    """What a meter has counted of a family, by labels; of a histogram how often."""
    found = {labels: value for one, labels, value in meter.tally.taken_counts() if one is family}
    return found | {
        labels: sum(counts) for one, labels, counts, _ in meter.tally.taken_spreads() if one is family
    }


def test_a_call_is_counted_with_its_time_and_tokens() -> None:
    """Under OpenTelemetry's words; what failed has its class of error, and no tokens."""
    meter = Meter()
    for reply in (replace(ANSWERED, usage=Usage(input_tokens=7, output_tokens=300)), OVERLOADED):
        meter.note_end(outcome(reply))
    spreads = {
        (family.name, labels): (counts, total)
        for family, labels, counts, total in meter.tally.taken_spreads()
    }
    name = ("chat", "openai", "gpt-4o")
    counts, total = spreads[families.CALL_TOKENS.name, (*name, "output")]
    assert (counts.index(1), total) == (families.CALL_TOKENS.buckets.index(1024.0), 300)
    counts, total = spreads[families.CALL_DURATION.name, (*name, "503")]
    assert (counts.index(1), total) == (families.CALL_DURATION.buckets.index(0.04), 0.04)


def test_what_was_taken_is_not_taken_again() -> None:
    """Counters and histograms tell what came since; gauges how they stand."""
    meter = Meter()
    meter.in_flight("openai").value += 2
    meter.note_end(outcome(ANSWERED))
    assert counted(meter, families.REPLIES) == {("openai", "gpt-4o", "answered", "done"): 1}
    assert counted(meter, families.REPLIES) == {}
    assert counted(meter, families.CALLS_IN_FLIGHT) == {("openai",): 2}
    meter.in_flight("openai").value -= 2
    assert counted(meter, families.CALLS_IN_FLIGHT) == {("openai",): 0}


def test_names_that_no_provider_knows_make_no_series() -> None:
    """Whatever producers write: it is counted among the others, and one that answers later has its own from then on."""
    meter = Meter()
    for n in range(500):
        meter.note_end(outcome(REFUSED, f"nonsense-{n}"))
    meter.note_end(outcome(REFUSED))
    meter.note_end(outcome(ANSWERED))
    assert counted(meter, families.REPLIES) == {
        ("openai", OTHERS, "refused", "failed"): 501,
        ("openai", "gpt-4o", "answered", "done"): 1,
    }


@pytest.mark.parametrize("name", ["x" * 101, "line\nbreak", "\x00"])
def test_names_that_are_no_names_make_no_series(name: str) -> None:
    """A local server may answer to anything."""
    meter = Meter()
    meter.note_end(outcome(ANSWERED, name, asked=name))
    assert counted(meter, families.REPLIES) == {("openai", OTHERS, "answered", "done"): 1}


def test_models_are_few_though_all_answer() -> None:
    """The first so many have their own series; circuits and waits go by the same names."""
    meter = Meter()
    for n in range(2 * MOST_MODELS):
        meter.note_end(outcome(ANSWERED, f"m{n}"))
        meter.note_circuit(("openai", f"m{n}"), "open")
        meter.note_limit_wait(Target("openai", f"m{n}"), "requests", 1.0)
    for family in (families.CIRCUIT_CHANGES, families.SELECTIONS):
        meter.note_circuit(("openai", "m1"), "open")
        assert len(counted(meter, family)) <= MOST_MODELS + 1


def test_a_tally_is_bounded_in_any_case() -> None:
    """What is beyond is counted nowhere, and nothing breaks."""
    tally = Tally()
    for n in range(MOST_SERIES + 10):
        tally.count(families.WITHHELD, str(n)).value += 1
    assert sum(1 for _ in tally.taken_counts()) == MOST_SERIES


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (ANSWERED, ""),
        (OVERLOADED, "503"),
        (Reply(verdict=Verdict.UNKNOWN, error_code="request_timeout"), "request_timeout"),
        (Reply(verdict=Verdict.RETRY, status_code=200, error_code="whatever they say"), "retry"),
    ],
)
def test_errors_are_of_few_classes(reply: Reply, expected: str) -> None:
    """What a provider calls an error is no label."""
    assert error_type(reply) == expected


def test_calls_that_were_not_made_are_none() -> None:
    """One written down whose moment did not come has no reply."""
    meter = Meter()
    meter.note_end(outcome(Reply(verdict=Verdict.THROTTLED, error_code=NOT_MADE)))
    assert counted(meter, families.REPLIES) == {}
    meter.note_withheld(Withheld(why=Why.FULL))
    assert counted(meter, families.WITHHELD) == {("full",): 1}


def _tried(model: str) -> Path:
    return Path(steps=(Step(target=Target("openai", model), what=What.TRIED, why="", at_ms=0),))


@pytest.mark.parametrize(
    ("model", "asked", "path", "is_cheaper", "expected"),
    [
        ("gpt-4o", "gpt-4o", Path(), False, "manual"),
        ("gpt-4o", "", Path(), False, "auto"),
        ("gpt-4o", "", _tried("gpt-5"), False, "fallback"),
        ("gpt-4o", "gpt-5", _tried("gpt-5"), False, "fallback"),
        ("gpt-4o", "gpt-5", Path(), False, "fallback"),  # its circuit is open
        ("gpt-4o-mini", "gpt-5", Path(), True, "cheaper"),
    ],
)
def test_it_is_known_how_a_model_came_to_be_asked(
    model: str, asked: str, path: Path, is_cheaper: bool, expected: str
) -> None:
    """Named, chosen, in another's place, or because a budget wants it."""
    ended = outcome(ANSWERED, model, asked=asked, path=path)
    assert selection(ended, is_cheaper=is_cheaper) == expected


def _ends() -> Iterator[tuple[Outcome, str]]:
    yield outcome(ANSWERED), "done"
    yield outcome(REFUSED), "failed"
    yield outcome(OVERLOADED), "again"
    yield outcome(Reply(verdict=Verdict.BLOCKED, status_code=401, error_code="invalid_api_key")), "pause"
    yield replace(outcome(OVERLOADED, path=_tried("gpt-4o")), state=RequestState.PENDING), "next_model"


@pytest.mark.parametrize(("ended", "expected"), list(_ends()))
def test_it_is_known_what_becomes_of_a_request(ended: Outcome, expected: str) -> None:
    """It is answered, fails, is tried again there or elsewhere, or its batch pauses."""
    assert what_next(ended) == expected


def test_an_instant_is_no_wait() -> None:
    """Only who has to wait for a limit is counted."""
    meter = Meter()
    meter.note_limit_wait(Target("openai", "gpt-4o"), "requests", 0.0002)
    assert counted(meter, families.LIMIT_WAIT) == {}
    meter.note_limit_wait(Target("openai", "gpt-4o"), "requests", 0.2)
    assert counted(meter, families.LIMIT_WAIT) == {("openai", OTHERS, "requests"): 1}
