"""The chart in a report: what each of the last days cost, as a picture and in words.

It is drawn at twice the size at which it is shown, so that it is crisp on any screen.
"""

import io
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from PIL import Image, ImageDraw, ImageFont

from batchmill.money.nanos import NANOS_PER_USD, divide_half_even, usd_text
from batchmill.reports.model import DaySpend
from batchmill.reports.period import day_text
from batchmill.reports.words import counted, usd

WIDTH, HEIGHT = 584, 216
"""As it is shown, in pixels."""

_SCALE = 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 4, 26, 30
_TEXT_SIZE = 16
_LINES = 4
_PAPER, _INK, _GRID, _BAR, _LAST, _UNSURE = "#ffffff", "#4b5563", "#e5e7eb", "#93b4e8", "#1d4ed8", "#b45309"
_STEPS = (1, 2, 5)
_UNITS = (("M", 10**6), ("k", 10**3), ("", 1))
_LEAST_STEP = NANOS_PER_USD // 1_000
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_UNDER_LABEL = 4
"""So many bars are below the last one's label."""


def chart_words(days: Sequence[DaySpend]) -> str:
    """What the chart shows, in words."""
    if not days:
        return "Spend per day: no data yet."
    costs = [day.spend.cost_nanos for day in days]
    top = max(range(len(days)), key=costs.__getitem__)
    said = [
        f"Spend per day from {_day(days[0])} to {_day(days[-1])}: {usd(costs[-1])} on the last day",
        f"{usd(divide_half_even(sum(costs), len(costs)))} on average",
        f"most on {_day(days[top])} with {usd(costs[top])}",
    ]
    if idle := sum(not cost for cost in costs):
        said.append(f"nothing on {counted(idle, 'day')}")
    if unsure := sum(not day.spend.is_certain for day in days):
        said.append(f"not all costs known on {counted(unsure, 'day')}")
    return ", ".join(said) + "."


def chart_png(days: Sequence[DaySpend]) -> bytes:
    """A bar for each day, the last one darker; a day whose cost is not all known has an amber mark on top."""
    image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), _PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_TEXT_SIZE * _SCALE)
    top_nanos = round_top(max((day.spend.cost_nanos for day in days), default=0))
    _draw_grid(draw, font, top_nanos)
    _draw_bars(draw, font, days, top_nanos)
    data = io.BytesIO()
    image.quantize(64).save(data, "PNG", optimize=True)
    return data.getvalue()


def _draw_grid(draw: ImageDraw.ImageDraw, font: Font, top_nanos: int) -> None:
    for line, label in enumerate(axis_labels(top_nanos)):
        y = _y(top_nanos * line // _LINES, top_nanos)
        draw.line([(_LEFT * _SCALE, y), ((WIDTH - _RIGHT) * _SCALE, y)], fill=_GRID, width=_SCALE)
        draw.text(((_LEFT - 8) * _SCALE, y), label, font=font, fill=_INK, anchor="rm")


def axis_labels(top_nanos: int) -> list[str]:
    """What the lines of the grid are labelled with, from the lowest; where nothing was spent, that one alone."""
    step_nanos = top_nanos // _LINES
    return [_axis(step_nanos * line, step_nanos) for line in range(_LINES + 1 if step_nanos > 1 else 1)]


def round_top(nanos: int) -> int:
    """The top of the grid: the next amount at which all its lines are at round ones."""
    unit = _LINES
    while True:
        for step in _STEPS:
            if unit * step >= max(nanos, 1):
                return unit * step
        unit *= 10


def _draw_bars(draw: ImageDraw.ImageDraw, font: Font, days: Sequence[DaySpend], top_nanos: int) -> None:
    step = (WIDTH - _LEFT - _RIGHT) * _SCALE / max(1, len(days))
    for nth, day in enumerate(days):
        is_last = nth == len(days) - 1
        left = _LEFT * _SCALE + nth * step + step * 0.14
        right = left + step * 0.72
        y = _y(day.spend.cost_nanos, top_nanos)
        if day.spend.cost_nanos:
            floor = _y(0, top_nanos)
            draw.rectangle([(left, min(y, floor - _SCALE)), (right, floor)], fill=_LAST if is_last else _BAR)
        if not day.spend.is_certain:
            draw.rectangle([(left, y - 5 * _SCALE), (right, y - 3 * _SCALE)], fill=_UNSURE)
        middle = (left + right) / 2
        if is_last:
            above = min(_y(one.spend.cost_nanos, top_nanos) for one in days[-_UNDER_LABEL:])
            label = usd(day.spend.cost_nanos)
            draw.text((right, above - 8 * _SCALE), label, font=font, fill=_LAST, anchor="rs")
        if (len(days) - 1 - nth) % 7 == 0:
            anchor = "rm" if is_last else "mm"
            x = right if is_last else middle
            draw.text((x, (HEIGHT - _BOTTOM / 2) * _SCALE), _short(day), font=font, fill=_INK, anchor=anchor)


def _y(nanos: int, top_nanos: int) -> float:
    room = (HEIGHT - _TOP - _BOTTOM) * _SCALE
    return (HEIGHT - _BOTTOM) * _SCALE - room * nanos / top_nanos


def _axis(nanos: int, step_nanos: int) -> str:
    """An amount, in seven characters or eight, with as many decimals as the grid's step needs."""
    if not nanos:
        return "$0"
    for unit, dollars in _UNITS:
        if step_nanos % (dollars * NANOS_PER_USD) == 0:
            return f"${nanos // (dollars * NANOS_PER_USD):,}{unit}"
    if step_nanos < _LEAST_STEP:
        return f"${Decimal(nanos) / NANOS_PER_USD:.1e}".replace(".0e", "e")
    decimals = len(usd_text(step_nanos).partition(".")[2])
    return f"${Decimal(nanos) / NANOS_PER_USD:.{max(2, decimals)}f}"


def _day(day: DaySpend) -> str:
    return day_text(date.fromisoformat(day.day))


def _short(day: DaySpend) -> str:
    number, _, month = _day(day).partition(" ")
    return f"{number} {month[:3]}"
