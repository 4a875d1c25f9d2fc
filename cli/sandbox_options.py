"""What the options of `batchmill sandbox` may be, and the errors for what they may not."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

import click

from batchmill.sandbox.bill import Price, price
from batchmill.sandbox.faults import FAULTS, find_fault
from batchmill.sandbox.limits import Allowance
from batchmill.sandbox.windows import MOST

_DAY_S = 86_400.0
_ROUNDING = 1e-9  # ten times 0.1 may come to a little more than 1


class Seconds(click.ParamType[float]):
    """More than none, less than a day."""

    name = "seconds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        seconds = _number(str(value))
        if not 0.001 <= seconds < _DAY_S:
            self.fail(f'"{value}" is no number of seconds from 0.001 to a day', param, ctx)
        return seconds


class Latency(click.ParamType[tuple[float, float]]):
    """Seconds: one number, or the shortest and longest with a dash between."""

    name = "seconds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """The shortest and the longest."""
        shortest, dash, longest = str(value).partition("-")
        latency = _number(shortest), _number(longest if dash else shortest)
        if any(map(math.isnan, latency)):
            self.fail(f'"{value}" is neither seconds nor a range such as 0.2-0.6', param, ctx)
        if not 0.0 <= latency[0] <= latency[1] < _DAY_S:
            self.fail(f'"{value}" does not go from fewer to more seconds', param, ctx)
        return latency


class UsdPerMtok(click.ParamType[Price]):
    """Dollars per million tokens: input, slash, output."""

    name = "in/out"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Price:
        """The price."""
        if isinstance(value, Price):
            return value
        try:
            input_, _, output = str(value).partition("/")
            read = price(input_, output)
        except InvalidOperation:
            self.fail(f'"{value}" is no price such as 0.15/0.60', param, ctx)
        if not all(
            p.is_finite() and Decimal(0) <= p for p in (read.input_usd_per_mtok, read.output_usd_per_mtok)
        ):
            self.fail(f'"{value}" is no price such as 0.15/0.60', param, ctx)
        return read


class FaultRate(click.ParamType[tuple[str, float]]):
    """A fault and the share of calls that meet it."""

    name = "name=rate"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """The fault's own name and the share."""
        name, _, share = str(value).partition("=")
        fault = find_fault(name)
        if fault is None:
            self.fail(f'there is no fault "{name}"; there are {", ".join(FAULTS)}', param, ctx)
        rate = _number(share)
        if not 0.0 <= rate <= 1.0:
            self.fail(
                f'"{share}" is no rate from 0 to 1; write {name}=0.01 for every hundredth call', param, ctx
            )
        return fault.name, rate


class Limit(click.ParamType[tuple[str, int]]):
    """How much in a window, for every model or for a named one."""

    name = "n|model=n"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The model, "" for all, and its limit."""
        model, equals, number = str(value).rpartition("=")
        if equals and not model:
            self.fail(f'"{value}" names no model; write gpt-4o=500, or 500 for every model', param, ctx)
        if not (number.isascii() and number.isdecimal() and len(number) <= 10 and 1 <= int(number) <= MOST):
            self.fail(f'"{number}" is no limit: a whole number from 1 to {MOST}', param, ctx)
        return model, int(number)


def read_rates(
    ctx: click.Context, param: click.Parameter, rates: Sequence[tuple[str, float]]
) -> Mapping[str, float]:
    """Each fault once, together at most every call."""
    _refuse_doubles(ctx, param, [name for name, _ in rates])
    together = math.fsum(rate for _, rate in rates)
    if together > 1.0 + _ROUNDING:
        raise click.BadParameter(f"the rates together are {together:g}; they may be 1 at most", ctx, param)
    return dict(rates)


def read_allowance(
    ctx: click.Context, param: click.Parameter, limits: Sequence[tuple[str, int]]
) -> Allowance:
    """One limit for all, one for each model named."""
    _refuse_doubles(ctx, param, [model or "every model" for model, _ in limits])
    of_model = dict(limits)
    return Allowance(of_all=of_model.pop("", None), of_model=of_model)


def _refuse_doubles(ctx: click.Context, param: click.Parameter, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f"{name} is given twice", ctx, param)


def _number(text: str) -> float:
    """NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
