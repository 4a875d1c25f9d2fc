"""What producers ask for, in the service's words."""

from decimal import Decimal

import pytest

from batchmill.client.orders import order_of, text_body
from batchmill.errors import MisuseError


def body(**more: object) -> dict:
    options = {
        "prompt": "Capital of Peru?",
        "system_prompt": "",
        "request_type": "",
        "options": None,
        "selection_mode": None,
        "provider": None,
        "model": None,
        "user": None,
    }
    return text_body(**options | more)


def test_what_says_nothing_is_left_out():
    """A plain batch asks for nothing but its window."""
    assert order_of(["a"]).fields == {"completion_window": "24h"}


def test_money_goes_as_text():
    """Whatever type an amount has, it is written as it was meant."""
    assert order_of([], budget_usd=Decimal("2.50")).fields["budget_usd"] == "2.50"
    assert order_of([], budget_usd=0.1).fields["budget_usd"] == "0.1"
    assert order_of([], budget_usd=0).fields["budget_usd"] == "0"


def test_fallbacks_are_a_list():
    """A single name is a mistake that would otherwise be five letters of fallbacks."""
    assert order_of([], fallback=("a/b",)).fields["fallback"] == ["a/b"]
    with pytest.raises(MisuseError, match="list of models"):
        order_of([], fallback="a/b")


@pytest.mark.parametrize(
    ("said", "model"),
    [
        ({}, "auto"),
        ({"selection_mode": "auto"}, "auto"),
        ({"model": "gpt-4o-mini"}, "gpt-4o-mini"),
        ({"provider": "anthropic", "model": "claude"}, "anthropic/claude"),
        ({"selection_mode": "manual", "provider": "anthropic", "model": "claude"}, "anthropic/claude"),
    ],
)
def test_who_is_asked(said, model):
    """Whoever is named, else whoever fits."""
    assert body(**said)["model"] == model


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"selection_mode": "auto", "model": "m"}, "one is named as well"),
        ({"provider": "anthropic"}, "one is named as well"),
        ({"selection_mode": "manual"}, "nothing says which model"),
        ({"selection_mode": "best"}, "no selection mode"),
    ],
)
def test_who_is_asked_is_said_once(said, why):
    """Two wishes that exclude each other are told before anything is asked."""
    with pytest.raises(MisuseError, match=why):
        body(**said)


def test_options_are_fields_of_the_call():
    """They go beside the messages; what is ours goes where the service takes it out."""
    made = body(options={"temperature": 0, "batchmill": {"cache": "off"}}, request_type="qa", user="u1")
    assert made["temperature"] == 0
    assert made["batchmill"] == {"request_type": "qa", "user": "u1", "cache": "off"}
    assert body(system_prompt="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Capital of Peru?"},
    ]
    assert "batchmill" not in body()
