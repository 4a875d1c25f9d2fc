"""The guard at intake: models that a budget covers and nobody can price, found while the lines stream by."""

import pytest

from batchmill.budgets.model import Budget, Period, Scope
from batchmill.budgets.standing import CallFacts
from batchmill.errors import UnpricedError
from batchmill.money.list_prices import Tariff
from batchmill.money.prices import Pricer
from batchmill.money.rates import Rates, Unpriced
from batchmill.requests.model import Endpoint, RequestLine
from workers import unpriced
from workers.unpriced import PriceGuard

GLOBAL = Budget(scope=Scope.GLOBAL, period=Period.DAY, limit_nanos=1)
OF_TYPE = Budget(scope=Scope.TYPE, name="report", period=Period.TOTAL, limit_nanos=1)
OF_MODEL = Budget(scope=Scope.MODEL, name="openai/own", period=Period.TOTAL, limit_nanos=1)
OF_BATCH = Budget(scope=Scope.BATCH, name="batch_1", period=Period.TOTAL, limit_nanos=1)
FACTS = CallFacts(tenant="acme", provider="openai", model="", batch="batch_1")


class CountingPricer(Pricer):
    """Knows how often it was asked."""

    asked = 0

    def tariff(self, *, provider: str, model: str) -> Rates | Tariff | Unpriced:
        """What a model costs."""
        self.asked += 1
        return super().tariff(provider=provider, model=model)


def line(number: int, model: str, request_type: str = "") -> RequestLine:
    """A line of the input."""
    return RequestLine(number, f"c{number}", Endpoint.CHAT, model, {}, request_type)


def guard(*budgets: Budget) -> PriceGuard:
    """A guard for these budgets."""
    return PriceGuard({budget.key: budget for budget in budgets}, Pricer(), FACTS)


def test_the_first_line_of_every_model_is_named() -> None:
    """With the budget that covers it, and what to do."""
    watching = guard(GLOBAL)
    for number, model in enumerate(("gpt-4o-mini", "own", "gpt-4o-mini", "own", "other"), 1):
        watching.see(line(number, model))
    with pytest.raises(UnpricedError) as refused:
        watching.require_prices()
    assert refused.value.message == (
        "no price is known for openai/own (line 2), openai/other (line 5),"
        " and the global daily budget covers it; nothing was accepted"
    )
    assert "`batchmill providers add openai/own" in refused.value.hint
    assert "`batchmill budget set global --allow-unpriced`" in refused.value.hint


def test_only_what_a_budget_covers_is_refused() -> None:
    """Models and types without a budget may cost what nobody knows."""
    watching = guard(OF_TYPE, OF_MODEL)
    for seen in (line(1, "other"), line(2, "other", "chat"), line(3, "gpt-4o-mini", "report")):
        watching.see(seen)
    assert not watching.has_refused
    watching.require_prices()
    watching.see(line(4, "other", "report"))
    assert watching.has_refused
    by_model = guard(OF_MODEL)
    by_model.see(line(1, "own"))
    with pytest.raises(UnpricedError, match=r"line 1.*model openai/own"):
        by_model.require_prices()


def test_a_line_is_priced_at_its_own_provider() -> None:
    """One name at two providers is two models, each with a price or without, and covered or not."""
    of_provider = Budget(scope=Scope.PROVIDER, name="anthropic", period=Period.DAY, limit_nanos=1)
    watching = guard(of_provider)
    watching.see(line(1, "gpt-4o-mini"))
    watching.see(line(2, "own"))
    watching.see(line(3, "own")._replace(provider="gemini"))
    assert not watching.has_refused
    watching.see(line(4, "gpt-4o-mini")._replace(provider="anthropic"))
    with pytest.raises(UnpricedError) as refused:
        watching.require_prices()
    assert refused.value.message.startswith("no price is known for anthropic/gpt-4o-mini (line 4), and")
    assert "providers add anthropic/gpt-4o-mini" in refused.value.hint


def test_a_line_for_any_model_is_not_refused() -> None:
    """Who is asked is chosen later, and one without a price would be withheld then."""
    watching = guard(GLOBAL)
    watching.see(line(1, "auto")._replace(provider=""))
    watching.require_prices()
    watching.see(line(2, "auto"))
    assert watching.has_refused


def test_a_batchs_own_budget_is_not_to_be_changed_but_left_out() -> None:
    """Its batch is not accepted, so there will be none to allow anything for."""
    watching = guard(OF_BATCH)
    watching.see(line(1, "own"))
    with pytest.raises(UnpricedError) as refused:
        watching.require_prices()
    assert "leave --budget out" in refused.value.hint
    assert "--allow-unpriced" not in refused.value.hint


def test_a_model_is_priced_once_however_often_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is remembered is bounded, also of names nobody can bound."""
    monkeypatch.setattr(unpriced, "MOST_REMEMBERED", 10)
    pricer = CountingPricer()
    watching = PriceGuard({OF_MODEL.key: OF_MODEL}, pricer, FACTS)
    for number in range(100):
        watching.see(line(number, "gpt-4o-mini"))
    assert pricer.asked == 1
    for number in range(1_000):
        watching.see(line(number, f"model-{number}"))
        watching.see(line(number, "x" * 1_000 + str(number)))
        assert len(watching._seen) <= 10


def test_many_refused_models_are_told_in_part() -> None:
    """Five are named; the rest is neither kept nor listed."""
    watching = guard(GLOBAL)
    for number in range(1, 1_001):
        watching.see(line(number, f"own-{number}"))
    with pytest.raises(UnpricedError, match=r"openai/own-5 \(line 5\), and others, and"):
        watching.require_prices()
    assert len(watching._refused) == 6
