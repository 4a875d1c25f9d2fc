"""How complex a question is taken to be, and what spoke for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.requests.model import Endpoint
from batchmill.routing.complexity import (
    FLOORS,
    LONG_WORDS,
    MOST_CHARS,
    VERY_LONG_WORDS,
    Assessment,
    Complexity,
    assess,
)

SIMPLE, MEDIUM, COMPLEX = Complexity
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "type"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def asked(*texts: str) -> Assessment:
    messages = [{"role": "user", "content": text} for text in texts]
    return assess(Endpoint.CHAT, {"messages": messages})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the capital of France?", SIMPLE),
        ("Translate to German: the house is red.", SIMPLE),
        ("Compare red and white wine.", MEDIUM),
        ("Vergleiche Rotwein und Weißwein.", MEDIUM),
        ("WHY is the sky blue?", MEDIUM),
        ("Prove it.", MEDIUM),
        ("Who? Where? When?", MEDIUM),
        ("Fix this:\n```\nx = 1 +\n```", MEDIUM),
        ("Prove it, step by step.", COMPLEX),
        ("Beweise den Satz, Schritt für Schritt.", COMPLEX),
        ("Analyse, compare and evaluate both plans.", COMPLEX),
        ("Debug this and explain why it fails:\n```\nx = 1 +\n```", COMPLEX),
    ],
)
def test_by_its_words(text: str, expected: Complexity) -> None:
    """Words that ask for thought or rigour, code and many questions add up, in English and German."""
    assert asked(text).complexity is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [(LONG_WORDS - 1, SIMPLE), (LONG_WORDS, MEDIUM), (VERY_LONG_WORDS, MEDIUM)],
)
def test_by_its_length(words: int, expected: Complexity) -> None:
    """A long text needs more than a short one; length alone makes nothing complex."""
    assert asked("word " * words).complexity is expected


def test_a_very_long_text_counts_twice() -> None:
    """With one word that asks for thought it is complex, where a shorter one is medium."""
    assert asked("Compare them. " + "word " * VERY_LONG_WORDS).complexity is COMPLEX
    assert asked("Compare them. " + "word " * LONG_WORDS).complexity is MEDIUM


@pytest.mark.parametrize("text", ["improve", "approved", "whyever", "waterproof"])
def test_only_whole_words_count(text: str) -> None:
    """A word within another says nothing."""
    assert asked(text).complexity is SIMPLE


def test_the_same_word_again_adds_nothing() -> None:
    """Who says it three times asks no more."""
    assert asked("Compare, compare, compare.").complexity is MEDIUM


def test_all_messages_count_together() -> None:
    """The system prompt and every turn."""
    assert asked("Go step by step.", "Fine.", "Compare them.").complexity is COMPLEX


def test_the_reasons_are_told() -> None:
    """Its owner sees what spoke for it."""
    assert asked("Prove it? Why? How?").why == "“why”, “prove”, 3 questions"


def test_only_some_of_many_reasons_are_told() -> None:
    """A text with every word of the list in it has a short reason all the same."""
    assert asked("Analyse, assess, compare, debug, design, discuss.").why == "“analyse”, “assess”, “compare”"


def test_the_end_of_a_very_long_request_is_looked_at() -> None:
    """The question is mostly in the last message; what lies before the limit is cut off."""
    early, filler = "step by step", "x" * (MOST_CHARS - 100)
    assert "more than" in asked(early, filler * 2).why
    assert "step by step" not in asked(early, filler * 2, "Compare them.").why
    assert "compare" in asked(early, filler * 2, "Compare them.").why


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.RESPONSES, {"input": "Prove it, step by step."}),
        (Endpoint.RESPONSES, {"instructions": "Go step by step.", "input": "Prove it."}),
        (
            Endpoint.RESPONSES,
            {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_text", "text": "Prove it, step by step."}],
                    }
                ]
            },
        ),
        (Endpoint.COMPLETIONS, {"prompt": ["Prove it,", "step by step."]}),
        (
            Endpoint.CHAT,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "https://example.com"}},
                            {"type": "text", "text": "Prove it, step by step."},
                        ],
                    }
                ]
            },
        ),
    ],
)
def test_the_text_is_found_wherever_an_endpoint_has_it(endpoint: Endpoint, body: dict[str, Any]) -> None:
    """Strings, messages, and parts of messages."""
    assert assess(endpoint, body).complexity is COMPLEX


@pytest.mark.parametrize(
    "content", [[{"type": "image_url", "image_url": {"url": "prove, step by step"}}], "", None]
)
def test_no_text_to_go_by(content: object) -> None:
    """A picture alone may be anything: medium."""
    found = assess(Endpoint.CHAT, {"messages": [{"role": "user", "content": content}]})
    assert found == Assessment(complexity=MEDIUM, why="there is no text to go by")


@pytest.mark.parametrize("endpoint", [Endpoint.EMBEDDINGS, Endpoint.MODERATIONS])
def test_what_asks_for_no_reasoning_is_simple(endpoint: Endpoint) -> None:
    """Whatever the text to be made vectors of says."""
    assert assess(endpoint, {"input": "Prove it, step by step."}).complexity is SIMPLE


@pytest.mark.parametrize("complexity", list(Complexity))
def test_who_knows_better_says_so(complexity: Complexity) -> None:
    """What the request says goes before what is guessed, up and down."""
    body = {"messages": [{"role": "user", "content": "Compare them."}]}
    assert assess(Endpoint.CHAT, body, override=complexity).complexity is complexity


def test_the_floors() -> None:
    """The more complex a question, the better a model has to be."""
    assert [FLOORS[complexity] for complexity in (SIMPLE, MEDIUM, COMPLEX)] == [0.70, 0.80, 0.90]
    assert asked("Hello").floor == 0.70


@given(content=json_values, endpoint=st.sampled_from(Endpoint))
def test_any_body_is_assessed_the_same_each_time(content: Any, endpoint: Endpoint) -> None:
    """Nothing that a body may hold raises, and the guess does not hang on chance."""
    body = {"messages": content, "input": content, "prompt": content, "instructions": content}
    assert assess(endpoint, body) == assess(endpoint, body)
