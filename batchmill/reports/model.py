"""A report: the facts of a period, found once. Whoever renders it finds nothing out any more."""

from dataclasses import dataclass, field
from enum import StrEnum

from batchmill.reports.period import ReportPeriod


class Dimension(StrEnum):
    """By what spending is told apart."""

    MODEL = "model"
    TENANT = "tenant"
    USER = "user"
    ENDPOINT = "endpoint"
    TYPE = "type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What some entries of the ledger come to.

    Attributes:
        cost_nanos: What is known to have been spent; what is `unknown` or `unpriced` is not in it.
        calls: Calls that came to their end, failed ones included.
        hits: Requests answered without a call.
        failed: The part of the calls that brought no answer.
        unknown: The part of the calls of which it is still not known whether they were billed.
        unpriced: Answers whose cost is not known.
    """

    cost_nanos: int = 0
    calls: int = 0
    hits: int = 0
    failed: int = 0
    unknown: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(**{name: getattr(self, name) + getattr(other, name) for name in SUMS})

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was asked at all, and nothing came to be known of what was asked before."""
        return not self.calls and not self.hits and not self.cost_nanos

    @property
    def is_certain(self) -> bool:
        """Whether the cost is all of it."""
        return not self.unknown and not self.unpriced


SUMS = (
    *("cost_nanos", "calls", "hits", "failed", "unknown", "unpriced"),
    *("input_tokens", "output_tokens"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySpend:
    """What a calendar day came to.

    Attributes:
        day: `2026-11-05`.
    """

    day: str
    spend: Spend


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a model, a tenant, a user had of it.

    Attributes:
        name: "" for what has none.
        before_nanos: Its cost in the period before.
    """

    name: str
    spend: Spend
    before_nanos: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Who had most of it, dearest first.

    Attributes:
        names: How many there are in all.
        movers: Those whose cost has changed most since the period before, that first.
    """

    dimension: Dimension
    shares: tuple[Share, ...] = ()
    movers: tuple[Share, ...] = ()
    names: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a month will come to.

    Attributes:
        low_nanos: With 80 % between this and `high_nanos`, if days go on as they did.
        days: How many whole days it rests on.
        by_weekday: Whether each weekday was looked at for itself.
    """

    expected_nanos: int
    low_nanos: int
    high_nanos: int
    days: int
    by_weekday: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """The month that the period's last day is in, up to the end of the period.

    Attributes:
        name: `November 2026`.
        forecast: None while there are less than three days of data.
        limit_nanos: The global monthly budget; None without one.
        is_over: Whether the period's last day is its last.
    """

    name: str
    spend: Spend = field(default_factory=Spend)
    forecast: Forecast | None = None
    limit_nanos: int | None = None
    is_over: bool = False

    @property
    def used_percent(self) -> int | None:
        """How much of the budget is used, rounded down; None without one."""
        return self.spend.cost_nanos * 100 // self.limit_nanos if self.limit_nanos else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """What the cache was good for, of one type of request or of all.

    Attributes:
        requests: Different requests.
        hits: Those answered without a call.
        saved_nanos: What the calls had cost whose answers were the hits, as far as that is known.
    """

    name: str = ""
    requests: int = 0
    hits: int = 0
    saved_nanos: int = 0

    @property
    def hit_percent(self) -> int | None:
        """The share of hits, rounded down; None without requests."""
        return self.hits * 100 // self.requests if self.requests else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Calls that brought no answer, for one reason.

    Attributes:
        code: What it is called, as in result files.
        before: How many they were in the period before.
    """

    code: str
    calls: int
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long the answered calls took, exactly: by nearest rank, over all of them."""

    calls: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedBatch:
    """A batch that stands still."""

    batch: str
    job_name: str
    tenant: str
    reason: str
    open_lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknowns:
    """Calls of which nobody knows whether they were billed, whenever they were made.

    Attributes:
        most_nanos: At most so much, for those whose bound is known.
        unbounded: How many of them have no known bound.
        of_period: How many of them were made in the period.
    """

    calls: int = 0
    most_nanos: int = 0
    unbounded: int = 0
    of_period: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """How a provider was at the last look.

    Attributes:
        state: `ok`, `failing`, `not_checked`.
        since_ms: Since when; None when nobody has looked.
        error: Why it fails.
        resting: Models of it that are left alone right now.
    """

    provider: str
    state: str
    since_ms: int | None = None
    checked_ms: int | None = None
    latency_ms: int | None = None
    error: str = ""
    resting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """Where a budget stood at the end of the period.

    Attributes:
        title: `the daily budget of tenant acme`.
        unknown_nanos: The part of what is spent that may not have been billed.
        start_ms: When its day, week or month began.
        end_ms: When it turns; None = never.
        runs_out_ms: When it will be used up if it goes on like this; None when not before it turns.
    """

    title: str
    limit_nanos: int
    spent_nanos: int
    unknown_nanos: int = 0
    start_ms: int
    end_ms: int | None
    runs_out_ms: int | None = None

    @property
    def used_percent(self) -> int | None:
        """How much of it is used, rounded down; None where the limit is 0."""
        return self.spent_nanos * 100 // self.limit_nanos if self.limit_nanos else None


class Rule(StrEnum):
    """Why something is suggested."""

    BUDGET_USED_UP = "budget_used_up"
    BUDGET_RUNS_OUT = "budget_runs_out"
    PROVIDER_FAILING = "provider_failing"
    BATCHES_PAUSED = "batches_paused"
    FAILURES_RISE = "failures_rise"
    UNKNOWN_CALLS = "unknown_calls"
    UNPRICED_ANSWERS = "unpriced_answers"
    CHEAPER_MODEL = "cheaper_model"
    FEW_HITS = "few_hits"
    MAIL_UNSURE = "mail_unsure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What to look at, and why.

    Attributes:
        text: The reason and the advice, for people; commands in backticks.
    """

    rule: Rule
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a report says.

    Attributes:
        made_ms: When it was made: budgets, providers and paused batches are as of then.
        before: The same for the period before.
        weekday: The same for the same weekday of the week before; None for what is not of a single day.
        days: The last thirty days, in their order; the first of them may be from before there was anything.
        latency: None when no call was answered.
        paused: The first of `paused_count`, those with most open lines.
        budgets: The most used of `budget_count`, the global ones first.
        unsure_mails: Mails of earlier reports of which it turned out since the last one that nobody knows whether they
            arrived.
    """

    period: ReportPeriod
    made_ms: int
    spend: Spend
    before: Spend
    weekday: Spend | None = None
    month: Month
    days: tuple[DaySpend, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    cache: CacheUse = field(default_factory=CacheUse)
    cache_by_type: tuple[CacheUse, ...] = ()
    failures: tuple[Failure, ...] = ()
    latency: Latency | None = None
    paused: tuple[PausedBatch, ...] = ()
    paused_count: int = 0
    unknowns: Unknowns = field(default_factory=Unknowns)
    providers: tuple[ProviderState, ...] = ()
    budgets: tuple[BudgetState, ...] = ()
    budget_count: int = 0
    suggestions: tuple[Suggestion, ...] = ()
    unsure_mails: int = 0

    def ranking(self, dimension: Dimension) -> Ranking:
        """Who had most of it, by that."""
        found = (one for one in self.rankings if one.dimension is dimension)
        return next(found, Ranking(dimension=dimension))
