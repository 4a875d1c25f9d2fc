"""What a report suggests to look at, the most urgent first: rules over its facts, each with its reason."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchmill.money.nanos import NANOS_PER_USD
from batchmill.reports.model import CacheUse, Dimension, Report, Rule, Suggestion
from batchmill.reports.words import capital, counted, date_text, named, usd

MOST = 8
MOST_OF_A_RULE = 2
MANY_FAILURES_PERCENT = 5
FEW_HITS_PERCENT = 60
SOME_HITS_PERCENT = 5
"""From here on questions of a type are taken to repeat."""
ENOUGH_REQUESTS = 100
ENOUGH_CALLS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A model of the catalogue that would have answered the same for much less.

    Attributes:
        model: What was asked, `PROVIDER/MODEL`.
        cost_nanos: What its tokens of the period cost by its price.
        instead: The other one.
        instead_nanos: What they would have cost there.
    """

    model: str
    cost_nanos: int
    instead: str
    instead_nanos: int


def suggestions_for(report: Report, alternatives: Sequence[Alternative] = ()) -> tuple[Suggestion, ...]:
    """What to look at: up to eight things, and two for the same reason."""
    found = [
        *_budgets(report),
        *_providers(report),
        *_paused(report),
        *_failures(report),
        *_unknowns(report),
        *_unpriced(report),
        *_alternatives(alternatives),
        *_hits(report.cache_by_type),
        *_unsure(report),
    ]
    seen: Counter[Rule] = Counter()
    kept = []
    for one in found:
        seen[one.rule] += 1
        if seen[one.rule] <= MOST_OF_A_RULE:
            kept.append(one)
    return tuple(kept[:MOST])


def _budgets(report: Report) -> Iterator[Suggestion]:
    zone = report.period.zone
    for budget in report.budgets:
        is_over = budget.end_ms is not None and budget.end_ms <= report.made_ms
        amounts = f"{usd(budget.spent_nanos)} of {usd(budget.limit_nanos)}"
        title = capital(named(budget.title, 120))
        if budget.spent_nanos >= budget.limit_nanos:
            when = "was" if is_over else "is"
            text = f"{title} {when} used up ({amounts}): raise it with `batchmill budget set`, or leave it so"
            yield Suggestion(rule=Rule.BUDGET_USED_UP, text=text)
        elif budget.runs_out_ms is not None:
            day = date_text(budget.runs_out_ms, zone)
            text = f"{title} will be used up on {day} if it goes on like this ({amounts} used): "
            yield Suggestion(
                rule=Rule.BUDGET_RUNS_OUT,
                text=text
                + "raise it with `batchmill budget set`, or let it fall to cheaper models (`--on-limit downgrade`)",
            )


def _providers(report: Report) -> Iterator[Suggestion]:
    for provider in report.providers:
        if provider.state == "failing":
            why = f": {named(provider.error, 160)}" if provider.error else ""
            text = (
                f"{provider.provider} fails its health check{why}; `batchmill providers health` looks again"
            )
            yield Suggestion(rule=Rule.PROVIDER_FAILING, text=text)


def _paused(report: Report) -> Iterator[Suggestion]:
    if report.paused:
        first = report.paused[0]
        count = counted(report.paused_count, "batch", "batches")
        stands = "stands" if report.paused_count == 1 else "stand"
        text = f"{count} {stands} still ({named(first.reason, 120)}): "
        text += f"`batchmill resume {named(first.batch)}` lets it go on"
        yield Suggestion(rule=Rule.BATCHES_PAUSED, text=text)


def _failures(report: Report) -> Iterator[Suggestion]:
    now, before = report.spend, report.before
    if now.calls < ENOUGH_CALLS or now.failed * 100 < now.calls * MANY_FAILURES_PERCENT:
        return
    # Twice the share of the period before, told without dividing.
    if now.failed * before.calls < 2 * before.failed * now.calls:
        return
    worst = f", most of them {named(report.failures[0].code)}" if report.failures else ""
    share = f"{now.failed * 100 // now.calls} % of the calls failed"
    was = f"{before.failed * 100 // before.calls} %" if before.calls else "none"
    text = f"{share}{worst}; {report.period.before_words} it was {was}: "
    text += "`batchmill providers health` shows whether it is the provider"
    yield Suggestion(rule=Rule.FAILURES_RISE, text=text)


def _unknowns(report: Report) -> Iterator[Suggestion]:
    unknowns = report.unknowns
    if unknowns.calls:
        text = f"{counted(unknowns.calls, 'call')} may have been billed without an answer, {unknowns_bound(report)}: "
        yield Suggestion(rule=Rule.UNKNOWN_CALLS, text=text + "`batchmill budget reconcile` settles them")


def unknowns_bound(report: Report) -> str:
    """How much calls of unknown outcome can have cost, in words."""
    unknowns = report.unknowns
    if not unknowns.unbounded:
        return f"{usd(unknowns.most_nanos)} at most"
    if unknowns.unbounded == unknowns.calls:
        return "nobody knows for how much"
    return f"{usd(unknowns.most_nanos)} at most and {unknowns.unbounded:,} of them without a known bound"


def _unpriced(report: Report) -> Iterator[Suggestion]:
    if report.spend.unpriced:
        shares = report.ranking(Dimension.MODEL).shares
        worst = max(shares, key=lambda share: share.spend.unpriced, default=None)
        of = f", most of them of {named(worst.name)}" if worst is not None and worst.spend.unpriced else ""
        text = f"{counted(report.spend.unpriced, 'answer')} without a known price{of}: "
        yield Suggestion(
            rule=Rule.UNPRICED_ANSWERS,
            text=text + "give it one with `batchmill providers edit` or in the file of BATCHMILL_PRICES",
        )


def _alternatives(alternatives: Sequence[Alternative]) -> Iterator[Suggestion]:
    for one in alternatives:
        if one.cost_nanos - one.instead_nanos < NANOS_PER_USD // 100:
            continue
        text = (
            f"{named(one.model)} cost {usd(one.cost_nanos)}; by the catalogue {named(one.instead)} is as good,"
            f" and the same tokens cost {usd(one.instead_nanos)} there"
        )
        yield Suggestion(rule=Rule.CHEAPER_MODEL, text=text)


def _hits(by_type: Sequence[CacheUse]) -> Iterator[Suggestion]:
    # What has no type is of many kinds: that it repeats says nothing, unless it is all there is.
    for one in (use for use in by_type if use.name or len(by_type) == 1):
        percent = one.hit_percent or 0
        if one.requests >= ENOUGH_REQUESTS and SOME_HITS_PERCENT <= percent < FEW_HITS_PERCENT:
            of = f" of type {named(one.name)}" if one.name else ""
            text = (
                f"Only {percent} % of the {one.requests:,} requests{of} came from the cache although they repeat:"
                " see whether prompts hold times or ids, and whether answers are kept long enough (BATCHMILL_CACHE_TTL)"
            )
            yield Suggestion(rule=Rule.FEW_HITS, text=text)


def _unsure(report: Report) -> Iterator[Suggestion]:
    if report.unsure_mails:
        text = f"Of {counted(report.unsure_mails, 'mail')} with an earlier report nobody knows whether it arrived: "
        yield Suggestion(
            rule=Rule.MAIL_UNSURE,
            text=text + "`batchmill report list` names them, `batchmill report resend` sends one again",
        )
