"""Quotes of single requests, as services are asked for them: what one costs, and whether it would fit the budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from batchmill.budgets.balance import Room
from batchmill.budgets.standing import CallFacts, Fit
from batchmill.errors import InputError, ProviderError
from batchmill.money.nanos import usd_text
from batchmill.providers.names import ProviderName
from batchmill.quotes.quote import Quote
from batchmill.requests.model import BatchOptions, Endpoint
from batchmill.routing.names import parse_target
from batchmill.settings import Settings
from db.budgets.coverage import check_budget
from db.engine import Database
from workers.budgets import define_environment_budgets
from workers.quoting import Quoter
from workers.views import time_text

UNPRICED = "unpriced"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCheck:
    """Whether a call would be made now, as far as budgets go.

    Attributes:
        facts: By what budgets were matched to it; without provider and model where none is named.
        nanos: The most it may cost; None = nobody knows its price.
        fits: One for each budget that covers it.
    """

    facts: CallFacts
    nanos: int | None
    fits: Sequence[Fit]


def quote_request(
    database: Database | None,
    settings: Settings,
    endpoint: Endpoint,
    body: Mapping[str, Any],
    models: Sequence[str],
    options: BatchOptions,
) -> list[Quote]:
    """What one request costs at each of these models; at `auto`, where it would go.

    Raises:
        InputError: One of them cannot be asked that, now or ever.
    """
    try:
        orjson.dumps(body)
    except (TypeError, ValueError) as error:  # numbers wider than 64 bits, text that is not UTF-8
        raise InputError(f"the request cannot be sent: {error}", "correct it first") from None
    try:
        return Quoter.of(settings, database).request(endpoint, body, models, options)
    except ProviderError as error:  # nothing was sent, and nobody is away: it is asked for what is not set up
        raise InputError(error.message, error.hint) from None


def check_request(
    database: Database,
    settings: Settings,
    endpoint: Endpoint,
    body: Mapping[str, Any],
    model: str,
    facts: CallFacts,
) -> BudgetCheck:
    """Whether this request would fit, at the most that it can cost.

    Args:
        model: As requests name it, or `auto`: the model that would be chosen.
        facts: Those of the call; provider and model are found out here.

    Raises:
        InputError: That model cannot be asked that.
    """
    options = BatchOptions(tenant=facts.tenant, user=facts.user, request_type=facts.request_type)
    (quote,) = quote_request(database, settings, endpoint, body, [model], options)
    quoted = quote.models[0]
    nanos = None if quoted.tally.unpriced else quoted.tally.most_nanos
    return _checked(database, settings, facts, provider=quoted.provider, model=quoted.model, nanos=nanos)


def check_amount(
    database: Database, settings: Settings, nanos: int, model: str | None, facts: CallFacts
) -> BudgetCheck:
    """Whether so much would fit.

    Args:
        model: Without one, or with `auto`, only budgets count that cover whatever model it is.

    Raises:
        MisuseError: The model is none.
    """
    target = parse_target(model, default_provider=ProviderName.OPENAI) if model else None
    provider, name = ("", "") if target is None or target.is_auto else target.key
    return _checked(database, settings, facts, provider=provider, model=name, nanos=nanos)


def check_view(check: BudgetCheck) -> dict[str, Any]:
    """A check as JSON shows it. Money is exact dollars as text."""
    return {
        "fits": all(fit.fits for fit in check.fits),
        "amount_usd": None if check.nanos is None else usd_text(check.nanos),
        "provider": check.facts.provider or None,
        "model": check.facts.model or None,
        "tenant": check.facts.tenant,
        "user": check.facts.user or None,
        "request_type": check.facts.request_type or None,
        "budgets": [_fit_view(fit, check.nanos) for fit in check.fits],
    }


def _checked(
    database: Database, settings: Settings, facts: CallFacts, *, provider: str, model: str, nanos: int | None
) -> BudgetCheck:
    define_environment_budgets(database, settings)
    found = CallFacts(
        tenant=facts.tenant,
        user=facts.user,
        provider=provider,
        model=model,
        request_type=facts.request_type,
        batch=facts.batch,
    )
    with database.read() as tx:
        return BudgetCheck(facts=found, nanos=nanos, fits=check_budget(tx, found, nanos))


def _fit_view(fit: Fit, nanos: int | None) -> dict[str, Any]:
    standing = fit.standing
    budget, balance = standing.budget, standing.balance
    return {
        "budget": budget.title,
        "scope": budget.scope.value,
        "name": budget.name or None,
        "period": budget.period.value,
        "fits": fit.fits,
        "verdict": _verdict(fit, nanos),
        "on_limit": budget.on_limit.value,
        "limit_usd": usd_text(balance.limit_nanos),
        "spent_usd": usd_text(balance.spent_nanos),
        "held_usd": usd_text(balance.held_nanos),
        "left_usd": usd_text(standing.left_nanos),
        "until": time_text(standing.end_ms),
    }


def _verdict(fit: Fit, nanos: int | None) -> str:
    if nanos is None:
        return Room.FITS.value if fit.fits else UNPRICED
    return fit.standing.balance.room(nanos).value
