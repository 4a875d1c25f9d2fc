"""Unpriced: no input is accepted whose calls a budget covers and nobody can price.

A line for any model is accepted all the same: who is asked is chosen when its turn comes, and what nobody can price is
chosen last and then withheld. So is a fallback without a known price.
"""

from collections.abc import Mapping
from typing import Any

from batchmill.budgets import words
from batchmill.budgets.model import Budget, Scope, keys_of
from batchmill.budgets.standing import CallFacts
from batchmill.errors import UnpricedError
from batchmill.money.bounds import Model
from batchmill.money.prices import Pricer
from batchmill.money.rates import Unpriced
from batchmill.requests.model import RequestLine
from batchmill.settings import Settings
from db.budgets.coverage import refusing_unpriced
from db.engine import Database
from workers.prices import file_prices, owner_prices

MOST_TOLD = 5
MOST_REMEMBERED = 1_000
LONGEST_REMEMBERED = 200
"""Names of models and types come from producers: what is remembered of them is bounded."""


class PriceGuard:
    """Notes the models of an input that a budget covers and nobody has a price for.

    Args:
        refusing: By key: the budgets that refuse such calls.
        facts: What all lines of the batch have in common; the type is that of lines without one. Providers and models
            are the lines'.
    """

    def __init__(self, refusing: Mapping[str, Budget], pricer: Pricer, facts: CallFacts) -> None:
        self._refusing = refusing
        self._pricer = pricer
        self._facts = facts
        self._seen: set[tuple[str, str, str]] = set()
        self._refused: dict[Model, tuple[int, Budget]] = {}

    @property
    def has_refused(self) -> bool:
        """Whether the input cannot be accepted."""
        return bool(self._refused)

    def see(self, line: RequestLine) -> None:
        """Look at a line, as addressed; most are like one before."""
        seen = (line.provider, line.model, line.request_type)
        if not line.provider or seen in self._seen:
            return
        if len(line.model) + len(line.request_type) <= LONGEST_REMEMBERED:
            if len(self._seen) >= MOST_REMEMBERED:
                self._seen.clear()
            self._seen.add(seen)
        if len(self._refused) <= MOST_TOLD and self._is_unpriced(line):
            self._judge(line)

    def require_prices(self) -> None:
        """Make sure that nothing was refused.

        Raises:
            UnpricedError: Naming the first models, where they are, and what covers them.
        """
        if not self._refused:
            return
        told = list(self._refused.items())[:MOST_TOLD]
        models = ", ".join(
            f"{provider}/{model[:LONGEST_REMEMBERED]} (line {line})" for (provider, model), (line, _) in told
        )
        more = ", and others" if len(self._refused) > MOST_TOLD else ""
        (provider, model), (_, budget) = told[0]
        raise UnpricedError(
            f"no price is known for {models}{more}, and {budget.title} covers it; nothing was accepted",
            _hint(budget, f"{provider}/{model[:LONGEST_REMEMBERED]}"),
        )

    def _is_unpriced(self, line: RequestLine) -> bool:
        return isinstance(self._pricer.tariff(provider=line.provider, model=line.model), Unpriced)

    def _judge(self, line: RequestLine) -> None:
        facts = self._facts
        keys = keys_of(
            tenant=facts.tenant,
            user=facts.user,
            provider=line.provider,
            model=line.model,
            request_type=line.request_type or facts.request_type,
            batch=facts.batch,
        )
        budget = next((self._refusing[key] for key in keys if key in self._refusing), None)
        if budget is not None:
            self._refused.setdefault((line.provider, line.model), (line.line, budget))


def price_guard(database: Database, settings: Settings, batch: Any) -> PriceGuard | None:
    """A guard for the input of a batch; None while no budget could refuse any of it.

    Args:
        batch: Its row.
    """
    facts = CallFacts(
        tenant=batch.tenant,
        user=batch.user_id,
        provider="",
        model="",
        request_type=batch.request_type,
        batch=batch.public_id,
    )
    with database.read() as tx:
        refusing = refusing_unpriced(tx, facts)
        if not refusing:
            return None
        return PriceGuard(refusing, Pricer(owner_prices(tx, file_prices(settings))), facts)


def _hint(budget: Budget, name: str) -> str:
    price = (
        f"give it a price (0 where it costs nothing): `batchmill providers add {name}"
        " --tier normal --input-price USD --output-price USD`, `edit` where it is in the catalogue"
    )
    if budget.scope is Scope.BATCH:
        return f"{price}; or leave --budget out"
    return f"{price}; or let its calls pass uncounted: `{words.command(budget)} --allow-unpriced`"
