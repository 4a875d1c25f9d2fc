"""Quoted budgets: what is wanted of each budget that covers some of a quote, those that are still to be made too."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from batchmill.budgets.model import Origin
from batchmill.budgets.standing import CallFacts, Standing
from batchmill.money.bounds import Model
from batchmill.quotes.quote import BudgetQuote, verdict
from batchmill.quotes.tally import Tallies, Tally
from batchmill.requests.model import BatchOptions
from batchmill.settings import Settings
from db.budgets import coverage
from db.engine import Database
from workers.budgets import undefined_budgets

Covering = Callable[[Model, str], Sequence[Standing]]
"""The budgets that cover calls to a model for a request type."""


def quoted_budgets(
    database: Database | None, settings: Settings, tallies: Tallies, options: BatchOptions
) -> list[BudgetQuote]:
    """What is wanted of each budget that covers some of these requests.

    Args:
        database: None while there is none.
    """
    if database is None:
        return _budget_quotes(tallies, lambda *_: (), undefined_budgets(None, settings), options)
    with database.read() as tx:

        @cache
        def covering(model: Model, request_type: str) -> Sequence[Standing]:
            return coverage.covering(tx, _facts(options, model, request_type))

        return _budget_quotes(tallies, covering, undefined_budgets(tx, settings), options)


def _facts(options: BatchOptions, model: Model, request_type: str) -> CallFacts:
    return CallFacts(
        tenant=options.tenant,
        user=options.user,
        provider=model[0],
        model=model[1],
        request_type=request_type,
    )


def _budget_quotes(
    tallies: Tallies, covering: Covering, undefined: Sequence[Standing], options: BatchOptions
) -> list[BudgetQuote]:
    """What is wanted of each budget.

    Args:
        undefined: Global ones that will take the place of those variables set before.
    """
    anew = {standing.budget.period for standing in undefined}
    everything = Tally()
    wanted: dict[int, tuple[Standing, Tally]] = {}
    for (provider, model, request_type), tally in tallies.items():
        everything.add(tally)
        for standing, part in _parts((provider, model), request_type, tally, covering):
            if standing.budget.origin is not Origin.ENVIRONMENT or standing.budget.period not in anew:
                wanted.setdefault(standing.budget.id, (standing, Tally()))[1].add(part)
    found = [_of_standing(standing, tally) for standing, tally in wanted.values()]
    found += [_of_standing(standing, everything) for standing in undefined]
    if options.budget_nanos is not None:
        found.append(_budget_quote("the batch's own budget", everything, options.budget_nanos))
    return found


def _parts(
    model: Model, request_type: str, tally: Tally, covering: Covering
) -> Iterator[tuple[Standing, Tally]]:
    """What these requests want of each budget: all they cost where it covers the model that they go to; where it only
    covers models that they may go to instead, nothing is expected, and at most what they cost there."""
    own = covering(model, request_type)
    yield from ((standing, tally) for standing in own)
    known = {standing.budget.id for standing in own}
    standings: dict[int, Standing] = {}
    most_nanos: dict[int, int] = defaultdict(int)
    for other, nanos in tally.most_nanos_by_other.items():
        for standing in covering(other, request_type):
            if standing.budget.id not in known:
                standings[standing.budget.id] = standing
                most_nanos[standing.budget.id] += nanos
    for budget_id, standing in standings.items():
        yield standing, Tally(most_nanos=min(most_nanos[budget_id], tally.most_nanos))


def _of_standing(standing: Standing, tally: Tally) -> BudgetQuote:
    budget = standing.budget
    return _budget_quote(budget.title, tally, standing.left_nanos, allows_unpriced=budget.allows_unpriced)


def _budget_quote(title: str, tally: Tally, left_nanos: int, *, allows_unpriced: bool = False) -> BudgetQuote:
    return BudgetQuote(
        title=title,
        left_nanos=left_nanos,
        expected_nanos=tally.expected_nanos,
        most_nanos=tally.most_nanos,
        verdict=verdict(tally, left_nanos=left_nanos, allows_unpriced=allows_unpriced),
    )
