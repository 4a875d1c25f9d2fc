"""Models of the catalogue that are as good as a dear one, for less than half of what it costs."""

from collections.abc import Iterator, Sequence

from batchmill.catalogue.entries import ModelEntry
from batchmill.money.prices import Pricer
from batchmill.money.usage import Usage
from batchmill.reports.model import Dimension, Report, Share
from batchmill.reports.suggestions import Alternative
from batchmill.settings import Settings
from db import catalogue
from db.engine import Transaction
from workers.prices import file_prices, owner_prices

LEAST_PERCENT = 10
"""A model that had less of the cost is not worth the change."""
TIMES_DEARER = 2


def alternatives_for(tx: Transaction, settings: Settings, report: Report) -> list[Alternative]:
    """For each model that had much of the cost: the cheapest active one of the catalogue that can do all that it can,
    is rated as good, can be called, and costs at most half for the same tokens.

    Honest weakness: prompts become other numbers of tokens elsewhere, and cached input is priced as the rest.
    """
    entries = catalogue.entries(tx)
    pricer = Pricer(owner_prices(tx, file_prices(settings)))
    usable = {name.value for name, account in settings.providers.items() if account.is_usable}
    callable_ = [entry for entry in entries if entry.is_active and entry.provider in usable]
    found = (
        _cheapest(share, entry, callable_, pricer)
        for share, entry in _worth_it(report, entries)
        if entry.quality is not None
    )
    return [one for one in found if one is not None]


def _worth_it(report: Report, entries: Sequence[ModelEntry]) -> Iterator[tuple[Share, ModelEntry]]:
    by_name = {entry.name: entry for entry in entries}
    for share in report.ranking(Dimension.MODEL).shares:
        cost_nanos = share.spend.cost_nanos
        if share.name in by_name and cost_nanos * 100 >= report.spend.cost_nanos * LEAST_PERCENT > 0:
            yield share, by_name[share.name]


def _cheapest(
    share: Share, entry: ModelEntry, others: Sequence[ModelEntry], pricer: Pricer
) -> Alternative | None:
    own = _price(share, entry, pricer)
    if not own:
        return None
    prices = {
        other.name: cost
        for other in others
        if other.key != entry.key
        and other.capabilities >= entry.capabilities
        and (other.quality or 0) >= (entry.quality or 0)
        and (cost := _price(share, other, pricer)) is not None
    }
    if not prices:
        return None
    name = min(prices, key=lambda name: (prices[name], name))
    if prices[name] * TIMES_DEARER > own:
        return None
    return Alternative(model=share.name, cost_nanos=own, instead=name, instead_nanos=prices[name])


def _price(share: Share, entry: ModelEntry, pricer: Pricer) -> int | None:
    """What the tokens of a share cost by a model's price."""
    usage = Usage(input_tokens=share.spend.input_tokens, output_tokens=share.spend.output_tokens)
    cost = pricer.price(provider=entry.provider, model=entry.model, usage=usage, requests=share.spend.calls)
    return cost.nanos
