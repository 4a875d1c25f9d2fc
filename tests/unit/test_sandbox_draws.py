"""Which calls meet a fault: by name, and by chance that does not hang on order."""

import random
from typing import Any

import pytest

from batchmill.requests.model import Endpoint
from batchmill.sandbox.draws import CallCounts, Draws
from batchmill.sandbox.faults import FAULTS, SAME_AS, find_fault
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.wires.openai.read import read_call


def ask(text: str, model: str = "m") -> Asked:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    return read_call(Endpoint.CHAT, body)


def drawn(draws: Draws, texts: list[str]) -> list[tuple[str, str]]:
    """Each prompt and the fault it met, by prompt; those of one prompt in their order."""
    met = [(text, fault.name if (fault := draws.fault_of(ask(text))) else "") for text in texts]
    return sorted(met, key=lambda pair: pair[0])


def test_same_seed_same_faults_in_any_order() -> None:
    """Three calls of each of 300 prompts, shuffled: the nth call of a prompt meets what it met before."""
    rates = {"500": 0.2, "reset-after": 0.1, "drip": 0.05}
    texts = [f"question {n}" for n in range(300)] * 3
    first = drawn(Draws(rates, seed=7), texts)
    random.Random(1).shuffle(texts)
    assert drawn(Draws(rates, seed=7), texts) == first
    assert drawn(Draws(rates, seed=8), texts) != first
    assert drawn(Draws(dict(reversed(rates.items())), seed=7), texts) == first


def test_rates_are_kept() -> None:
    """Over 20,000 calls each fault comes as often as asked, within five standard deviations; a repeated prompt too."""
    rates = {"500": 0.1, "529": 0.02}
    for texts in ([f"q{n}" for n in range(20_000)], ["same"] * 20_000):
        met = [fault for _, fault in drawn(Draws(rates, seed=3), texts)]
        for name, rate in rates.items():
            assert abs(met.count(name) - 20_000 * rate) < 5 * (20_000 * rate * (1 - rate)) ** 0.5
        assert set(met) == {"500", "529", ""}


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_never_and_always(rate: float) -> None:
    """A rate of 0 is never, a rate of 1 every time."""
    met = {fault for _, fault in drawn(Draws({"500": rate}, seed=0), [f"q{n}" for n in range(500)])}
    assert met == {"500" if rate else ""}


def test_models_draw_apart() -> None:
    """The same prompt of another model is another call."""
    draws = Draws({"500": 0.5}, seed=0)
    met = {m: [draws.fault_of(ask(f"q{n}", m)) is None for n in range(64)] for m in ("a", "b")}
    assert met["a"] != met["b"]


def test_named_faults_are_certain() -> None:
    """`sandbox/NAME` meets its fault whatever the rates; an unknown name draws like any other model."""
    draws = Draws({"529": 1.0}, seed=0)
    for name in (*FAULTS, *SAME_AS):
        assert draws.fault_of(ask("q", f"sandbox/{name}")) is find_fault(name)
    assert draws.fault_of(ask("q", "sandbox/nonsense")) is FAULTS["529"]
    assert Draws({}, seed=0).fault_of(ask("q", "sandbox/nonsense")) is None


def test_flaky_is_not_drawn_for() -> None:
    """`sandbox/flaky-2` fails twice and then answers, also where everything else fails."""
    draws = Draws({"529": 1.0}, seed=0)
    met = [draws.fault_of(ask("q", "sandbox/flaky-2")) for _ in range(4)]
    assert met == [FAULTS["500"], FAULTS["500"], None, None]


def test_counts_are_bounded() -> None:
    """The prompts called last are remembered; who was forgotten starts anew."""
    counts = CallCounts(remembered=3)
    assert [counts.add(ask(text)) for text in "aabcabd"] == [0, 1, 0, 0, 2, 1, 0]
    assert counts.add(ask("c")) == 0  # four came since
    assert counts.add(ask("d")) == 1
    assert len(counts._counts) == 3
