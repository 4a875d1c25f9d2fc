"""What is wanted of routing: read strictly, kept as one text, a line's before its batch's."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.catalogue.entries import Tier
from batchmill.routing.complexity import Complexity
from batchmill.routing.names import Target
from batchmill.routing.wants import (
    FIELDS,
    MOST_FALLBACKS,
    MOST_LATENCY_MS,
    NOTHING,
    Quality,
    Wants,
    dump_wants,
    load_wants,
    merged,
    read_wants,
)

ALL = {
    "fallback": ["anthropic/claude-haiku-5-5", "gpt-4o"],
    "quality": "premium",
    "deep_reasoning": True,
    "complexity": "complex",
    "user_tier": "normal",
    "max_latency_ms": 2_000,
}

names = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=5)
targets = st.builds(Target, provider=st.sampled_from(["openai", "local", "acme"]), model=names)
wishes = st.builds(
    Wants,
    fallback=st.lists(targets, max_size=MOST_FALLBACKS, unique=True).map(tuple),
    quality=st.none() | st.sampled_from(Quality),
    deep_reasoning=st.none() | st.booleans(),
    complexity=st.none() | st.sampled_from(Complexity),
    user_tier=st.none() | st.sampled_from(Tier),
    max_latency_ms=st.none() | st.integers(1, MOST_LATENCY_MS),
)


def read(given: object) -> Wants:
    wants, faults = read_wants(given, default_provider="openai")
    assert faults == ()
    return wants


def faults_of(given: object) -> list[tuple[str, str | None]]:
    """Code and field of everything wrong; and then nothing is wanted."""
    wants, faults = read_wants(given, default_provider="openai")
    assert wants == NOTHING
    assert all(fault.message.endswith(".") for fault in faults)
    return [(fault.code, fault.param) for fault in faults]


def test_every_field_is_read() -> None:
    """A fallback without a provider is of the default one."""
    assert read(ALL) == Wants(
        fallback=(
            Target(provider="anthropic", model="claude-haiku-5-5"),
            Target(provider="openai", model="gpt-4o"),
        ),
        quality=Quality.PREMIUM,
        deep_reasoning=True,
        complexity=Complexity.COMPLEX,
        user_tier=Tier.NORMAL,
        max_latency_ms=2_000,
    )


@pytest.mark.parametrize("said", [None, {}, dict.fromkeys(FIELDS)])
def test_null_says_nothing(said: object) -> None:
    """Whether it is a field or the whole."""
    assert read(said) == NOTHING


@pytest.mark.parametrize(
    ("said", "code", "param"),
    [
        ("premium", "invalid_type", "routing"),
        ({"tier": "cheap"}, "unknown_parameter", "routing.tier"),
        ({"quality": "cheap"}, "invalid_value", "routing.quality"),
        ({"quality": 1}, "invalid_type", "routing.quality"),
        ({"deep_reasoning": "yes"}, "invalid_type", "routing.deep_reasoning"),
        ({"deep_reasoning": 1}, "invalid_type", "routing.deep_reasoning"),
        ({"complexity": "hard"}, "invalid_value", "routing.complexity"),
        ({"user_tier": "gold"}, "invalid_value", "routing.user_tier"),
        ({"max_latency_ms": 0}, "invalid_value", "routing.max_latency_ms"),
        ({"max_latency_ms": 1.5}, "invalid_type", "routing.max_latency_ms"),
        ({"max_latency_ms": True}, "invalid_type", "routing.max_latency_ms"),
        ({"max_latency_ms": MOST_LATENCY_MS + 1}, "invalid_value", "routing.max_latency_ms"),
        ({"fallback": "gpt-4o"}, "invalid_type", "routing.fallback"),
        ({"fallback": []}, "invalid_value", "routing.fallback"),
        ({"fallback": ["a"] * (MOST_FALLBACKS + 1)}, "invalid_value", "routing.fallback"),
        ({"fallback": ["gpt-4o", 3]}, "invalid_type", "routing.fallback[1]"),
        ({"fallback": ["openai/"]}, "invalid_value", "routing.fallback[0]"),
        ({"fallback": ["a b"]}, "invalid_value", "routing.fallback[0]"),
        ({"fallback": ["auto"]}, "invalid_value", "routing.fallback[0]"),
    ],
)
def test_what_cannot_be_is_told(said: object, code: str, param: str) -> None:
    """In the words of the other checks of a line, with the field at fault."""
    assert faults_of(said) == [(code, param)]


def test_everything_wrong_is_told_at_once() -> None:
    """Nobody has to mend a file fault by fault."""
    said = {"quality": "best", "tiers": 1, "max_latency_ms": -5}
    assert len(faults_of(said)) == len(said)


def test_supported_words_are_named() -> None:
    """Who wrote another one sees what can be written."""
    _, (fault,) = read_wants({"complexity": "hard"}, default_provider="openai")
    expected = "Invalid value: 'hard'. Supported values are: 'simple', 'medium', 'complex'."
    assert fault.message == expected


def test_a_fallback_named_twice_is_asked_once() -> None:
    """Also where one name has the provider in it and the other has not."""
    assert len(read({"fallback": ["gpt-4o", "openai/gpt-4o"]}).fallback) == 1


def test_nothing_is_an_empty_text() -> None:
    """Which is what almost every line keeps."""
    assert dump_wants(NOTHING) == ""


def test_the_text_is_what_a_line_could_say() -> None:
    """Fields in one order, only those that say something, fallbacks in full."""
    text = dump_wants(read({"quality": "premium", "fallback": ["gpt-4o"]}))
    assert text == '{"fallback":["openai/gpt-4o"],"quality":"premium"}'


@given(wishes)
def test_what_is_kept_is_read_back(wants: Wants) -> None:
    """Whatever is wanted, and whoever the default provider is by then."""
    assert load_wants(dump_wants(wants)) == wants


@given(wishes, wishes)
def test_a_line_goes_before_its_batch_field_by_field(line: Wants, batch: Wants) -> None:
    """Each field is the line's where it says something, else the batch's."""
    result = merged(line, batch)
    for name in FIELDS:
        own, nothing = getattr(line, name), getattr(NOTHING, name)
        assert getattr(result, name) == (getattr(batch, name) if own == nothing else own)


@given(wishes, wishes, wishes)
def test_merging_can_be_nested(line: Wants, batch: Wants, tenant: Wants) -> None:
    """In whatever order three are brought together, and who wants nothing changes nothing."""
    assert merged(merged(line, batch), tenant) == merged(line, merged(batch, tenant))
    assert merged(line, NOTHING) == merged(NOTHING, line) == line


def test_a_line_takes_back_deep_reasoning() -> None:
    """False is a wish too, and it outlives being kept."""
    line = load_wants(dump_wants(read({"deep_reasoning": False})))
    assert merged(line, read({"deep_reasoning": True})).deep_reasoning is False


def test_a_batch_can_be_asked_in_other_words() -> None:
    """What the field is called in a fault is the caller's to say."""
    said: dict[str, Any] = orjson.loads('{"quality": "x"}')
    _, (fault,) = read_wants(said, default_provider="openai", param="options.routing")
    assert fault.param == "options.routing.quality"
