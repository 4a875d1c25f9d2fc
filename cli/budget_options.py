"""How budgets are written on the command line."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import click

from batchmill.budgets.limits import limit_nanos, thresholds_of
from batchmill.budgets.model import OnLimit, Period, Scope
from cli.text import Name

Command = Callable[..., Any]

_ALSO_CALLED = {"request-type": Scope.TYPE}


class Limit(click.ParamType[int]):
    """US dollars as plain decimals; becomes nano-dollars."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else limit_nanos(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None


class Thresholds(click.ParamType[tuple[int, ...]]):
    """Percentages with commas between."""

    name = "PERCENTS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return value if isinstance(value, tuple) else thresholds_of(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None


class ScopeName(click.ParamType[Scope]):
    """What a budget is for."""

    name = "SCOPE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Scope:
        word = str(value).lower()
        known = {scope.value: scope for scope in Scope} | _ALSO_CALLED
        if word in known:
            return known[word]
        alike = get_close_matches(word, known, n=1)
        meant = f"did you mean {alike[0]}? " if alike else ""
        raise click.BadParameter(
            f"{word[:40]!r} is no scope; {meant}there are {', '.join(Scope)}", ctx, param
        )


on_limit_choice = click.Choice([way.value for way in OnLimit])

_BUDGET = (
    click.argument("scope", metavar="SCOPE", type=ScopeName()),
    click.argument("name", metavar="[NAME]", type=Name(), default=""),
)
_LIMITS = tuple(
    click.option(f"--{period}", f"{period}_nanos", type=Limit(), help=f"Most US dollars {words}.")
    for period, words in {
        Period.DAY: "a day",
        Period.WEEK: "a week, from Monday on",
        Period.MONTH: "a calendar month",
        Period.TOTAL: "from now on, for ever; for a batch: all of it",
    }.items()
)
_PERIODS = tuple(
    click.option(f"--{period}", f"is_{period}", is_flag=True, help=f"Only that {words}.")
    for period, words in {
        Period.DAY: "of a day",
        Period.WEEK: "of a week",
        Period.MONTH: "of a month",
        Period.TOTAL: "for ever",
    }.items()
)


def names_budget(command: Command) -> Command:
    """Add SCOPE and NAME: the command gets `scope: Scope` and `name: str`, "" without one."""
    return _with(_BUDGET, command)


def takes_limits(command: Command) -> Command:
    """Add an amount for every period: the command gets `day_nanos`, ..., None where it is not given."""
    return _with(_LIMITS, command)


def takes_periods(command: Command) -> Command:
    """Add a flag for every period: the command gets `is_day`, ...; see `periods_of`."""
    return _with(_PERIODS, command)


def limits_of(given: dict[str, int | None]) -> dict[Period, int]:
    """The amounts that were given, by period."""
    amounts = {period: given[f"{period}_nanos"] for period in Period}
    return {period: nanos for period, nanos in amounts.items() if nanos is not None}


def periods_of(given: dict[str, bool]) -> list[Period]:
    """The periods that were named; none = all."""
    return [period for period in Period if given[f"is_{period}"]]


def _with(parameters: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    for parameter in reversed(parameters):
        command = parameter(command)
    return command
