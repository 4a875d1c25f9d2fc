"""Selection: who may answer a question, in which order, and why the others may not."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.catalogue.entries import Capability, ModelEntry, Tier
from batchmill.catalogue.shipped import read_shipped
from batchmill.requests.model import Endpoint
from batchmill.routing.complexity import Complexity
from batchmill.routing.filters import LEAST_CALLS, LatencySource, OwnLatency, Situation, WhyNot
from batchmill.routing.question import Question, question_of
from batchmill.routing.selection import MOST_CANDIDATES, Selection, select
from batchmill.routing.wants import Quality, Wants

NOW_MS = 1_000_000
SIMPLE, MEDIUM, COMPLEX = Complexity
CHEAP, NORMAL, PREMIUM = Tier
NANOS = {CHEAP: 10, NORMAL: 100, PREMIUM: 1_000}
QUALITY = {CHEAP: 0.75, NORMAL: 0.85, PREMIUM: 0.95}


def entry(model: str, tier: Tier = CHEAP, **fields: Any) -> ModelEntry:
    defaults: dict[str, Any] = {"provider": "openai", "quality": QUALITY[tier], "latency_ms": 1_000}
    return ModelEntry(model=model, tier=tier, **(defaults | fields))


def asking(
    request_type: str = "",
    complexity: Complexity = SIMPLE,
    endpoint: Endpoint = Endpoint.CHAT,
    body: Mapping[str, Any] | None = None,
    **wants: Any,
) -> Question:
    return question_of(
        endpoint, body or {}, request_type=request_type, wants=Wants(complexity=complexity, **wants)
    )


def here(costs: Mapping[str, int | None] | None = None, tokens: int = 1_000, **facts: Any) -> Situation:
    """Everything can be called, and each model costs what is given, else what its tier does."""
    known = costs or {}
    defaults: dict[str, Any] = {"providers": {"openai", "local", "gemini"}}
    return Situation(
        now_ms=NOW_MS,
        most_tokens=lambda model: tokens,
        expected_nanos=lambda model: known.get(model.model, NANOS[model.tier]),
        **(defaults | facts),
    )


def names(selection: Selection) -> list[str]:
    return [one.model.model for one in selection.candidates]


def why_not(selection: Selection) -> dict[str, WhyNot | None]:
    return {one.model.model: one.why_not for one in selection.rejected}


THREE = [entry("small", CHEAP), entry("middle", NORMAL), entry("large", PREMIUM)]


def test_the_cheapest_comes_first() -> None:
    """By what it is expected to cost; the others that fit are its fallbacks, dearer and dearer."""
    found = select(asking(), THREE, here({"small": 500}))
    assert names(found) == ["middle", "small", "large"]
    assert found.choice == found.candidates[0]
    assert found.fault is None


def test_an_unknown_price_comes_last() -> None:
    """Nobody is sent to what may cost anything while there is another; and it is told."""
    found = select(asking(), THREE, here({"small": None, "large": 0}))
    assert names(found) == ["large", "middle", "small"]
    assert found.candidates[-1].reason == "fallback 2, its price is not known"
    assert found.candidates[-1].expected_nanos is None


@pytest.mark.parametrize(
    ("fields", "other"),
    [
        ({"quality": 0.9}, {"is_default": True}),
        ({"is_default": True}, {}),
        ({}, {"quality": None}),
    ],
)
def test_what_costs_the_same(fields: dict[str, Any], other: dict[str, Any]) -> None:
    """The better one comes first; of two as good the default, whatever their names."""
    assert names(select(asking(), [entry("a", **other), entry("z", **fields)], here())) == ["z", "a"]


def test_equals_go_by_name() -> None:
    """So that the same question is answered by the same model, however the catalogue is ordered."""
    models = [entry("b"), entry("a"), entry("c")]
    assert names(select(asking(), models, here())) == ["a", "b", "c"]


def test_a_default_is_no_reason_to_pay_more() -> None:
    """It only settles what is otherwise equal."""
    models = [entry("dear", is_default=True), entry("good")]
    assert names(select(asking(), models, here({"dear": 11}))) == ["good", "dear"]


def test_there_are_not_too_many_fallbacks() -> None:
    """Those that fit beyond them are told as such."""
    found = select(asking(), [entry(f"m{place}") for place in range(MOST_CANDIDATES + 2)], here())
    assert len(found.candidates) == MOST_CANDIDATES
    assert why_not(found) == {"m5": WhyNot.SPARE, "m6": WhyNot.SPARE}


@pytest.mark.parametrize(
    ("fields", "reason", "text"),
    [
        ({"is_active": False}, WhyNot.DISABLED, "it is disabled"),
        ({"provider": "gemini"}, WhyNot.ENDPOINT, "gemini does not serve /v1/chat/completions"),
        ({"capabilities": frozenset({Capability.TEXT})}, WhyNot.CAPABILITY, "it cannot do json, tools"),
        ({"context_tokens": 999}, WhyNot.CONTEXT, "it takes 999 tokens, and up to 1,000 are needed"),
        ({"output_cap_tokens": 99}, WhyNot.OUTPUT_CAP, "it writes 99 tokens, and 100 are asked for"),
        ({"tier": PREMIUM}, WhyNot.USER_TIER, "it is premium, and its user may have normal at most"),
        ({"provider": "anthropic"}, WhyNot.PROVIDER, "anthropic has no key or address here"),
        ({"model": "resting"}, WhyNot.CIRCUIT, "it failed just now and rests for 8 s more"),
        ({"quality": 0.79}, WhyNot.QUALITY, "its quality is 0.79, and a medium question needs 0.80"),
        ({"quality": None}, WhyNot.QUALITY_UNKNOWN, "its quality is not known, and a medium question needs 0.80"),
        ({"latency_ms": 2_001}, WhyNot.LATENCY, "it takes 2,001 ms by the catalogue, and 2,000 ms are wanted at most"),
        ({"latency_ms": None}, WhyNot.LATENCY_UNKNOWN, "how long it takes is not known"),
        ({"tier": CHEAP}, WhyNot.TIER, "it is cheap, and normal is chosen from"),
    ],
)  # fmt: skip
def test_each_reason_is_told(fields: dict[str, Any], reason: WhyNot, text: str) -> None:
    """For machines and for people; one model alone differs from one that fits, in one thing."""
    able = {"capabilities": frozenset({Capability.TEXT, Capability.TOOLS, Capability.JSON})}
    fits = {
        "tier": NORMAL,
        "quality": 0.8,
        "context_tokens": 1_000,
        "output_cap_tokens": 100,
        "latency_ms": 2_000,
    }
    one = entry(**({"model": "other"} | able | fits | fields))
    body = {"tools": [{}], "response_format": {"type": "json_object"}, "max_tokens": 100}
    question = asking("report", MEDIUM, body=body, user_tier=NORMAL, max_latency_ms=2_000)
    now = here(
        open_until_ms={("openai", "resting"): NOW_MS + 7_001, ("openai", "good"): NOW_MS},
        endpoints={"gemini": {Endpoint.EMBEDDINGS}},
    )
    found = select(question, [entry("good", **(able | fits)), one], now)
    assert names(found) == ["good"]
    assert [(rejected.why_not, rejected.reason) for rejected in found.rejected] == [(reason, text)]


def test_the_first_reason_is_told() -> None:
    """Of a model that will not do for several reasons."""
    model = entry("m", is_active=False, quality=0.1, context_tokens=1)
    assert why_not(select(asking(), [model], here(providers=()))) == {"m": WhyNot.DISABLED}


def test_what_is_not_known_of_its_size_does_not_matter() -> None:
    """A window or longest answer that nobody has entered is taken to be large enough."""
    question = asking(body={"max_tokens": 10**6})
    assert names(select(question, [entry("m")], here(tokens=10**7))) == ["m"]


@pytest.mark.parametrize(
    ("complexity", "expected"),
    [(SIMPLE, ["small", "middle", "large"]), (MEDIUM, ["middle", "large"]), (COMPLEX, ["large"])],
)
def test_the_more_complex_the_better(complexity: Complexity, expected: list[str]) -> None:
    """Each complexity has its floor of quality."""
    assert names(select(asking("", complexity), THREE, here())) == expected


def test_a_model_of_unknown_quality_answers_simple_questions() -> None:
    """And is no rival of a better known one that costs the same."""
    models = [entry("a", quality=None), entry("b")]
    assert names(select(asking(), models, here())) == ["b", "a"]


@pytest.mark.parametrize(
    ("request_type", "models", "expected"),
    [
        ("quiz", THREE, "small"),
        ("quiz-v2", THREE[1:], "middle"),
        ("report", THREE, "middle"),
        ("report", [THREE[0], THREE[2]], "large"),
        ("report", THREE[:1], "small"),
    ],
)
def test_a_type_has_its_tier(request_type: str, models: list[ModelEntry], expected: str) -> None:
    """Models of that tier alone, whatever others cost; where none fits the next above, then the next below."""
    assert names(select(asking(request_type), models, here({"large": 1}))) == [expected]


def test_a_complex_question_of_a_cheap_type() -> None:
    """The floor goes before the tier: a quiz that cheap models are not good enough for goes to a better one."""
    found = select(asking("quiz", COMPLEX), THREE, here())
    assert (names(found), found.tier) == (["large"], PREMIUM)


def test_premium_that_was_asked_for_has_no_stand_in() -> None:
    """It is not quietly given up."""
    found = select(asking(quality=Quality.PREMIUM), THREE[:2], here())
    assert found.candidates == ()
    assert found.rejected[0].reason == "it is cheap, and only premium will do"


def test_deep_reasoning_needs_a_model_that_thinks() -> None:
    """Premium alone is not enough."""
    thinks = entry("thinks", PREMIUM, capabilities=frozenset({Capability.TEXT, Capability.REASONING}))
    found = select(asking(deep_reasoning=True), [*THREE, thinks], here({"large": 1}))
    assert names(found) == ["thinks"]


def test_where_a_tier_is_too_slow_another_is_chosen() -> None:
    """The longest time was asked for, the tier is only preferred."""
    models = [entry("slow", CHEAP, latency_ms=9_000), entry("fast", NORMAL)]
    assert names(select(asking("quiz", max_latency_ms=2_000), models, here())) == ["fast"]


@pytest.mark.parametrize(
    ("calls", "latency_ms", "source"),
    [(LEAST_CALLS, 50, LatencySource.OWN), (LEAST_CALLS - 1, 1_000, LatencySource.CATALOGUE)],
)
def test_own_calls_tell_the_latency(calls: int, latency_ms: int, source: LatencySource) -> None:
    """Once there are enough of them; before that the catalogue does."""
    latencies = {("openai", "small"): OwnLatency(calls=calls, latency_ms=50)}
    found = select(asking(), THREE[:1], here(latencies=latencies))
    assert found.choice is not None
    assert (found.choice.latency_ms, found.choice.latency_source) == (latency_ms, source)


def test_own_calls_tell_who_is_too_slow() -> None:
    """Whatever the catalogue promises."""
    latencies = {("openai", "small"): OwnLatency(calls=LEAST_CALLS, latency_ms=5_000)}
    found = select(asking(max_latency_ms=2_000), THREE, here(latencies=latencies))
    assert names(found) == ["middle", "large"]
    assert "by our own calls" in found.rejected[0].reason


def test_nothing_fits() -> None:
    """Every model is named with its reason, those of one reason together, and the best of those below the floor."""
    models = [*THREE[:2], entry("off", is_active=False), entry("out", is_active=False)]
    fault = select(asking("", COMPLEX), models, here()).fault
    assert fault is not None
    assert (fault.code, fault.param) == ("no_model_fits", "body.model")
    assert fault.message == (
        "No model fits. A complex question needs a quality of 0.90; the best below is openai/middle. "
        "openai/small: its quality is 0.75, and a complex question needs 0.90; "
        "openai/middle: its quality is 0.85, and a complex question needs 0.90; "
        "openai/off, openai/out: it is disabled."
    )


def test_an_empty_catalogue() -> None:
    """It is told how to fill it."""
    fault = select(asking(), [], here()).fault
    assert fault is not None
    assert "batchmill providers setup" in fault.message


def test_who_moderates_is_not_known() -> None:
    """No chat model is sent what it cannot answer."""
    found = select(asking(endpoint=Endpoint.MODERATIONS), THREE, here())
    assert set(why_not(found).values()) == {WhyNot.ENDPOINT}


def test_waiting_helps_where_models_only_rest() -> None:
    """It is told when the first of them may be asked again; those that would not do anyway do not count."""
    resting = {
        ("openai", "small"): NOW_MS + 1,
        ("openai", "middle"): NOW_MS + 9,
        ("openai", "large"): NOW_MS + 5,
    }
    found = select(asking("", MEDIUM), THREE, here(open_until_ms=resting))
    assert (found.candidates, found.free_at_ms) == ((), NOW_MS + 5)


def test_waiting_helps_only_with_a_tier_that_will_do() -> None:
    """Premium is asked for, and what rests is not."""
    found = select(
        asking(quality=Quality.PREMIUM), THREE[:1], here(open_until_ms={("openai", "small"): NOW_MS + 1})
    )
    assert found.free_at_ms is None


def test_nobody_waits_while_somebody_fits() -> None:
    """A resting model of the preferred tier is passed by."""
    found = select(asking("quiz"), THREE, here(open_until_ms={("openai", "small"): NOW_MS + 1}))
    assert (names(found), found.free_at_ms) == (["middle"], None)


def test_all_that_is_to_be_explained_is_there() -> None:
    """Complexity, floor, tier rule, needs, and every model of the catalogue exactly once, with its cost."""
    models = read_shipped().entries
    now = here(providers={"openai", "anthropic"})
    found = select(question_of(Endpoint.CHAT, {"messages": []}, request_type="lesson"), models, now)
    assert (found.question.assessment.floor, found.question.rule.preferred) == (0.80, NORMAL)
    assert found.question.needs.capabilities == {Capability.TEXT}
    everyone = [one.model.name for one in (*found.candidates, *found.rejected)]
    assert sorted(everyone) == sorted(model.name for model in models)
    assert all(one.reason and one.expected_nanos == NANOS[one.model.tier] for one in found.rejected)
    assert {one.target.provider for one in found.candidates} == {"openai", "anthropic"}


models_of_all_kinds = st.lists(
    st.builds(
        entry,
        st.sampled_from("abcdefghij"),
        st.sampled_from(Tier),
        quality=st.none() | st.sampled_from([0.7, 0.8, 0.9]),
        latency_ms=st.none() | st.sampled_from([500, 5_000]),
        is_active=st.booleans(),
    ),
    min_size=4,
    max_size=10,
    unique_by=lambda model: model.key,
)
questions = st.builds(
    asking,
    st.sampled_from(["", "quiz", "report"]),
    st.sampled_from(Complexity),
    quality=st.none() | st.just(Quality.PREMIUM),
    user_tier=st.none() | st.sampled_from(Tier),
    max_latency_ms=st.none() | st.just(1_000),
)


@given(models=models_of_all_kinds, question=questions, data=st.data())
def test_whatever_the_catalogue(models: list[ModelEntry], question: Question, data: st.DataObject) -> None:
    """Every model is judged once, none that is disabled, too poor or above the user's tier is chosen, and the order of
    the catalogue changes nothing."""
    costs = {model.model: data.draw(st.none() | st.integers(0, 3)) for model in models}
    found = select(question, models, here(costs))
    judged = [one.model.model for one in (*found.candidates, *found.rejected)]
    assert sorted(judged) == sorted(model.model for model in models)
    assert all(one.why_not is None for one in found.candidates)
    assert all(one.why_not is not None for one in found.rejected)
    for model in (one.model for one in found.candidates):
        assert model.is_active
        assert (model.quality or 0.7) >= question.assessment.floor
        assert question.rule.allows(model.tier)
    shuffled = data.draw(st.permutations(models))
    assert select(question, shuffled, here(costs)).candidates == found.candidates
