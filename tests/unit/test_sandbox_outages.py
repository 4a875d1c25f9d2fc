"""Outages by order: which calls they are for, how long they last, and what may be ordered."""

from typing import Any

import pytest

from batchmill.requests.model import Endpoint
from batchmill.sandbox.draws import Draws
from batchmill.sandbox.outages import Outage, read_outage
from batchmill.sandbox.outcomes import ComplaintError
from batchmill.sandbox.prompts import Asked, WireName
from batchmill.sandbox.wires.openai.read import read_call


def call(model: str = "m", wire: WireName = WireName.OPENAI) -> Asked:
    body = {"model": model, "messages": [{"role": "user", "content": "q"}]}
    return read_call(Endpoint.CHAT, body)._replace(wire=wire)


def met(draws: Draws, asked: Asked) -> str:
    fault = draws.fault_of(asked)
    return fault.name if fault else ""


def order(draws: Draws, **outage: Any) -> None:
    draws.order(read_outage(outage))


def test_outage_breaks_and_heals() -> None:
    """Every call meets it from the order on, and none after the next."""
    draws = Draws({}, seed=0)
    assert met(draws, call()) == ""
    order(draws, rates={"500": 1.0})
    assert met(draws, call()) == "500"
    order(draws, rates={})
    assert met(draws, call()) == ""


def test_narrowest_order_counts() -> None:
    """Wire and model before model before wire before all; a narrow one with no rates spares its calls."""
    draws = Draws({}, seed=0)
    order(draws, rates={"500": 1.0})
    order(draws, rates={"502": 1.0}, wire="gemini")
    order(draws, rates={"503": 1.0}, model="a")
    order(draws, rates={}, model="a", wire="gemini")
    seen = {(m, w): met(draws, call(m, WireName(w))) for m in ("a", "b") for w in ("openai", "gemini")}
    assert seen == {
        ("a", "openai"): "503",
        ("a", "gemini"): "",
        ("b", "openai"): "500",
        ("b", "gemini"): "502",
    }


def test_order_for_all_forgets_the_narrower() -> None:
    """One order heals everything."""
    draws = Draws({}, seed=0)
    order(draws, rates={"500": 1.0}, wire="openai")
    order(draws, rates={})
    assert met(draws, call()) == ""
    assert draws.statement() == [{"wire": None, "model": None, "rates": {}}]


def test_named_faults_stay() -> None:
    """`sandbox/429` is a 429, whatever is ordered."""
    draws = Draws({}, seed=0)
    order(draws, rates={"500": 1.0})
    assert met(draws, call("sandbox/429")) == "429"


def test_short_names_are_read() -> None:
    """`reset` is `reset-after`, as on the command line."""
    assert read_outage({"rates": {"reset": 0.5}}) == Outage(rates={"reset-after": 0.5})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "say which"),
        ({}, "say which"),
        ({"rates": 1}, "say which"),
        ({"rates": {"nonsense": 0.1}}, "no fault 'nonsense'"),
        ({"rates": {"500": 2}}, "no rate from 0 to 1"),
        ({"rates": {"500": True}}, "no rate from 0 to 1"),
        ({"rates": {"500": 0.6, "502": 0.6}}, "together"),
        ({"rates": {}, "wire": "telex"}, "no wire 'telex'"),
        ({"rates": {}, "wire": []}, "no wire"),
        ({"rates": {}, "model": 1}, "a model is a text"),
        ({"rates": {}, "provider": "x"}, "nothing called 'provider'"),
    ],
)
def test_what_cannot_be_ordered_is_refused(body: Any, said: str) -> None:
    """The message names what there is not."""
    with pytest.raises(ComplaintError) as caught:
        read_outage(body)
    assert said in caught.value.complaint.message
