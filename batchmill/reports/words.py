"""How a report says amounts, changes and names; the same in text and HTML."""

from datetime import UTC, datetime, timedelta, tzinfo

from batchmill.money.nanos import NANOS_PER_USD, divide_half_even, format_usd
from batchmill.reports.model import Spend
from batchmill.reports.period import day_text

LONGEST_NAME = 60
NAMELESS = "(none)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HUNDREDTH = NANOS_PER_USD // 100


def change_text(now: int, before: int) -> str:
    """By how much it has changed: `+12 %`, `-8 %`; "" where there is nothing to compare with."""
    if before <= 0:
        return ""
    percent = divide_half_even((now - before) * 100, before)
    return f"{percent:+,} %"


def usd(nanos: int) -> str:
    """An amount as people read it, to the cent; what is less than one to four digits."""
    if abs(nanos) < _HUNDREDTH:
        return format_usd(nanos)
    return format_usd(divide_half_even(nanos, _HUNDREDTH) * _HUNDREDTH)


def rough_usd(nanos: int) -> str:
    """An amount that is not exact anyway: `$118`, `$4.20`."""
    if abs(nanos) < 10 * NANOS_PER_USD:
        return usd(nanos)
    return f"${divide_half_even(nanos, NANOS_PER_USD):,}"


def spend_text(spend: Spend) -> str:
    """A cost, and whether it is all of it: `at least $41.20`."""
    return usd(spend.cost_nanos) if spend.is_certain else f"at least {usd(spend.cost_nanos)}"


def share_text(spend: Spend) -> str:
    """The same in a column: `not known` where nothing of it is."""
    return "not known" if not spend.cost_nanos and not spend.is_certain else spend_text(spend)


def capital(text: str) -> str:
    """A sentence begins with a capital."""
    return text[:1].upper() + text[1:]


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 call`, `2,000 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def not_in_it(spend: Spend) -> str:
    """What a cost leaves out, in words; "" when it is all of it."""
    parts = []
    if spend.unknown:
        parts.append(f"{counted(spend.unknown, 'call')} whose outcome is not known")
    if spend.unpriced:
        parts.append(f"{counted(spend.unpriced, 'answer')} without a known price")
    return " and ".join(parts)


def named(name: str, longest: int = LONGEST_NAME) -> str:
    """A name as it can be shown anywhere: it may be anything that a producer has sent."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    if not shown.strip():
        return NAMELESS
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def milliseconds(ms: int) -> str:
    """`840 ms`, `2.1 s`, `3 min 20 s`."""
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{divide_half_even(ms, 100) / 10:.1f} s"
    minutes, seconds = divmod(divide_half_even(ms, 1_000), 60)
    return f"{minutes} min {seconds} s"


def short_count(number: int) -> str:
    """`940`, `12.4k`, `3.1M`: tokens are many."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            tenths = divide_half_even(number * 10, size)
            return f"{tenths / 10:,.1f}{unit}" if tenths < 1_000 else f"{tenths // 10:,}{unit}"
    return str(number)


def date_text(at_ms: int, zone: tzinfo) -> str:
    """The day of a moment: `18 November`."""
    return day_text((_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).date())


def moment_text(at_ms: int, zone: tzinfo) -> str:
    """A moment to the minute: `6 November 2026, 02:00`."""
    moment = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
    return f"{day_text(moment.date())} {moment.year}, {moment:%H:%M}"
