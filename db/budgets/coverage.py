"""Coverage: which budgets cover a call, and whether an amount would fit into them."""

from sqlalchemy import or_

from batchmill.budgets.balance import Room
from batchmill.budgets.model import OF_SOME_LINES, Budget, keys_of
from batchmill.budgets.standing import CallFacts, Fit, Standing
from db.budgets.standings import where
from db.engine import Transaction
from db.tables import budgets


def covering(tx: Transaction, facts: CallFacts) -> list[Standing]:
    """The budgets that cover a call of these facts, as they stand now."""
    return where(tx, budgets.c.key.in_(_keys(facts)))


def check_budget(tx: Transaction, facts: CallFacts, nanos: int | None) -> list[Fit]:
    """Whether so much would fit now into each of the budgets that cover a call of these facts; nothing is held.

    Args:
        nanos: None = its price is not known; that fits where the budget allows it.
    """
    return [
        Fit(
            standing=standing,
            fits=standing.budget.allows_unpriced
            if nanos is None
            else standing.balance.room(nanos) is Room.FITS,
        )
        for standing in covering(tx, facts)
    ]


def refusing_unpriced(tx: Transaction, facts: CallFacts) -> dict[str, Budget]:
    """By key: the budgets that cover calls without a known price, and refuse them, for lines of one batch.

    Those of providers, models and types are all in it, whatever the facts say of these: every line has its own.
    """
    is_of_batch = or_(budgets.c.key.in_(_keys(facts)), budgets.c.scope.in_(OF_SOME_LINES))
    refusing = where(tx, is_of_batch, budgets.c.allows_unpriced.is_(False))
    return {standing.budget.key: standing.budget for standing in refusing}


def _keys(facts: CallFacts) -> tuple[str, ...]:
    return keys_of(
        tenant=facts.tenant,
        user=facts.user,
        provider=facts.provider,
        model=facts.model,
        request_type=facts.request_type,
        batch=facts.batch,
    )
