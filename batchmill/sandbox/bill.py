"""The sandbox's own bill, kept apart from ours so that the two can be compared."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from batchmill.sandbox.outcomes import NOT_A_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What one answer counts; approximate, see `compose.count_tokens`."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A model's price, in US dollars per million tokens."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal

    def nanos(self, tokens: Tokens) -> int:
        """Nano-dollars of the tokens, rounded once, half to even."""
        usd_per_m = tokens.input * self.input_usd_per_mtok + tokens.output * self.output_usd_per_mtok
        return int((usd_per_m * 1000).to_integral_value(ROUND_HALF_EVEN))


def price(input_usd_per_mtok: str, output_usd_per_mtok: str) -> Price:
    """A price from decimal text. Raises: decimal.InvalidOperation when it is none."""
    return Price(
        input_usd_per_mtok=Decimal(input_usd_per_mtok), output_usd_per_mtok=Decimal(output_usd_per_mtok)
    )


DEFAULT_PRICE: Final = price("0.15", "0.60")
"""Of every model not in the table."""

PRICES: Final[Mapping[str, Price]] = {
    "gpt-4o": price("2.50", "10.00"),
    "gpt-4o-mini": price("0.15", "0.60"),
    "gpt-4.1-mini": price("0.40", "1.60"),
    "gpt-4.1-nano": price("0.10", "0.40"),
    "gpt-3.5-turbo-instruct": price("1.50", "2.00"),
    "text-embedding-3-small": price("0.02", "0"),
    "text-embedding-3-large": price("0.13", "0"),
    "omni-moderation-latest": price("0", "0"),
    "claude-opus-4-5": price("5.00", "25.00"),
    "claude-sonnet-4-5": price("3.00", "15.00"),
    "claude-haiku-4-5": price("1.00", "5.00"),
    "gemini-2.5-pro": price("1.25", "10.00"),
    "gemini-2.5-flash": price("0.30", "2.50"),
    "gemini-2.5-flash-lite": price("0.10", "0.40"),
    "gemini-embedding-001": price("0.15", "0"),
}
"""The providers' list prices, so that the figures look like those one would pay."""


@dataclass(slots=True)
class Tally:
    """Sums over calls.

    Attributes:
        calls: Calls received, whatever became of them.
        billed_calls: Those that were charged for.
    """

    calls: int = 0
    billed_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0

    def add(self, billed: Tokens | None, cost_nanos: int) -> None:
        """Count one call."""
        self.calls += 1
        if billed is not None:
            self.billed_calls += 1
            self.input_tokens += billed.input
            self.output_tokens += billed.output
            self.cost_nanos += cost_nanos

    def figures(self) -> dict[str, int]:
        """The sums by name."""
        return {name: getattr(self, name) for name in Tally.__slots__}


@dataclass(slots=True)
class Bill:
    """What the sandbox would charge: for every answer it made, also one that its client did not wait for.

    Attributes:
        outcomes: Calls by HTTP status, or by the name of what came instead of an answer.
        faults: Calls by the fault they met.
    """

    default_price: Price = DEFAULT_PRICE
    by_model: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    outcomes: dict[int | str, int] = field(default_factory=lambda: defaultdict(int))
    faults: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def cost_nanos(self, model: str, tokens: Tokens) -> int:
        """Nano-dollars that the model charges for the tokens."""
        return PRICES.get(model, self.default_price).nanos(tokens)

    def enter(
        self, model: str, billed: Tokens | None, cost_nanos: int, outcome: int | str, fault: str
    ) -> None:
        """Write one call down; `billed` is None when it is not charged for, `fault` "" when it met none."""
        self.by_model[model].add(billed, cost_nanos)
        self.outcomes[outcome] += 1
        if fault:
            self.faults[fault] += 1

    def statement(self) -> dict[str, Any]:
        """The bill as JSON can hold it."""
        models = {model: tally.figures() for model, tally in sorted(self.by_model.items())}
        total = {name: sum(figures[name] for figures in models.values()) for name in Tally.__slots__}
        return {
            "sandbox": NOT_A_MODEL,
            **total,
            "outcomes": {str(outcome): calls for outcome, calls in self.outcomes.items()},
            "faults": dict(sorted(self.faults.items())),
            "by_model": models,
        }
