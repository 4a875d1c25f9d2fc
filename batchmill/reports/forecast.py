"""The forecast of a month: what is spent, and what its days still to come are expected to cost.

From two weeks of data on each day to come counts as the mean of its weekday over the last four weeks; before that, as
the mean of all days known. The interval is the usual one for a sum of new observations around estimated means, by
Student's t: with s² the variance of the days around their means, R days to come and R_w of them on a weekday that was
seen n_w times, the sum lies with 80 % within t · s · √(R + Σ R_w²/n_w) of what is expected (Draper and Smith, Applied
Regression Analysis, chapter 3, for the model of one mean a group). It is all whole numbers and decimals, so the same
days give the same forecast everywhere.

Honest weakness: days are taken as independent of each other and of one kind for four weeks. A batch job of a size never
seen before, or a habit that changed last week, is outside of it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, localcontext

from batchmill.money.nanos import divide_half_even
from batchmill.reports.model import Forecast

LEAST_DAYS = 3
WEEKDAYS_FROM = 14
LOOKED_BACK_DAYS = 28

_T_90 = "3.078 1.886 1.638 1.533 1.476 1.440 1.415 1.397 1.383 1.372 1.363 1.356 1.350 1.345 1.341 1.337 1.333 1.330"
_T = tuple(map(Decimal, _T_90.split()))
"""Student's t: 90 % lie below it, by degrees of freedom from 1 on."""


def forecast_of(
    known: Mapping[date, int], coming: Sequence[date], *, spent_nanos: int, today_nanos: int = 0
) -> Forecast | None:
    """What a month will come to; None with less than three days of data.

    Args:
        known: The cost of whole days without a gap, up to the last one; days from before there was anything left out.
        coming: The days of the month that are not over.
        spent_nanos: What its whole days have cost.
        today_nanos: What the first of the days to come has cost already.
    """
    days = dict(sorted(known.items())[-LOOKED_BACK_DAYS:])
    if len(days) < LEAST_DAYS:
        return None
    by_weekday = len(days) >= WEEKDAYS_FROM
    groups: dict[int, list[int]] = defaultdict(list)
    for day, cost in days.items():
        groups[_group(day, by_weekday)].append(cost)
    means = {group: divide_half_even(sum(costs), len(costs)) for group, costs in groups.items()}
    expected = [means[_group(day, by_weekday)] for day in coming]
    if expected:
        expected[0] = max(expected[0], today_nanos)
    total = spent_nanos + sum(expected)
    half = _half(groups, means, Counter(_group(day, by_weekday) for day in coming))
    return Forecast(
        expected_nanos=total,
        low_nanos=max(total - half, spent_nanos + today_nanos),
        high_nanos=total + half,
        days=len(days),
        by_weekday=by_weekday,
    )


def _group(day: date, by_weekday: bool) -> int:
    return day.weekday() if by_weekday else 0


def _half(groups: Mapping[int, Sequence[int]], means: Mapping[int, int], coming: Mapping[int, int]) -> int:
    """Half of the interval, in nano-dollars."""
    freedom = sum(len(costs) for costs in groups.values()) - len(groups)
    squares = sum((cost - means[group]) ** 2 for group, costs in groups.items() for cost in costs)
    with localcontext(prec=40):
        spread = Decimal(sum(coming.values()))
        for group, number in coming.items():
            spread += Decimal(number * number) / len(groups[group])
        variance = Decimal(squares) / freedom
        return int((_T[min(freedom, len(_T)) - 1] * (variance * spread).sqrt()).to_integral_value())
