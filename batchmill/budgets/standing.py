"""Where a budget stands: what it is, and how far it is used in the period that is now."""

from dataclasses import dataclass

from batchmill.budgets.balance import Balance, Room
from batchmill.budgets.model import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """By what budgets are matched to a call.

    Attributes:
        request_type: "" = it has none.
        batch: Public id of its batch; "" = it is in none yet.
    """

    tenant: str
    user: str = ""
    provider: str
    model: str
    request_type: str = ""
    batch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget in its current period.

    Attributes:
        period_id: The row of the period; None = no call has begun it yet.
        start_ms: When it began, in milliseconds since 1970.
        end_ms: When it turns; None = never.
        opening_nanos: The part of what is spent that the ledger had when the budget was made.
    """

    budget: Budget
    period_id: int | None = None
    start_ms: int
    end_ms: int | None
    balance: Balance
    opening_nanos: int = 0

    @property
    def left_nanos(self) -> int:
        """How much may still be held now."""
        used = self.balance.spent_nanos + self.balance.held_nanos
        return max(0, self.balance.limit_nanos - used)

    @property
    def used_percent(self) -> float | None:
        """The part of the limit that is spent, rounded down to a tenth of a percent; None where the limit is 0."""
        limit = self.balance.limit_nanos
        return self.balance.spent_nanos * 1_000 // limit / 10 if limit else None

    @property
    def is_spent(self) -> bool:
        """Whether no call that costs anything may be made, whatever comes back of what is held."""
        return self.balance.room(1) is Room.NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether an amount fits into a budget now."""

    standing: Standing
    fits: bool
