"""Money as whole nano-dollars: 1 USD = 1,000,000,000 nanos, because a token of a small model costs 0.15 µ$.

An amount is an `int` named `_nanos`, a price a `Decimal`; a float is never money. An amount is rounded once
per attempt, to the nearest nano, a tie to the even one, so that a million roundings do not lean to one side.
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

NANOS_PER_USD = 1_000_000_000
MAX_NANOS = 2**63 - 1
"""The widest whole number both databases keep; nine billion dollars."""

_DECIMALS = 9
_NANO_USD = Decimal(1).scaleb(-_DECIMALS)
_SIGNIFICANT_DIGITS = 4
_PLAIN_DECIMAL = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?|\.[0-9]{1,30}")
_MONEY = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])


def nanos_from_usd(usd: Decimal | str | int) -> int:
    """Return dollars as nanos, rounded once, half to even.

    Raises:
        TypeError: For a float, which has already lost the amount.
        ValueError: For text that is no finite decimal number, or an amount beyond `MAX_NANOS`.
    """
    if isinstance(usd, bool) or not isinstance(usd, Decimal | str | int):
        raise TypeError(f"money is Decimal, text or a whole number of dollars, not {type(usd).__name__}")
    try:
        amount = Decimal(usd)
        # One quantize is one rounding, however long the number; arithmetic first would round twice.
        nanos = int(amount.quantize(_NANO_USD, context=_MONEY).scaleb(_DECIMALS, context=_MONEY))
    except (ArithmeticError, ValueError, OverflowError):
        raise ValueError(f"{str(usd)[:40]!r} is no amount of dollars") from None
    if abs(nanos) > MAX_NANOS:
        raise ValueError(f"{str(usd)[:40]!r} is more dollars than can be kept")
    return nanos


def nanos_from_plain(text: str, *, noun: str, example: str, highest_usd: int) -> int:
    """Return dollars that a person wrote as plain decimals ("0.15", "3") as nanos, exactly.

    Args:
        noun: What the amount is, for the error.

    Raises:
        ValueError: For anything else: a currency sign, a comma, an exponent, a sign; an amount that is not from 0 to
            `highest_usd`, or has more than nine decimals.
    """
    amount = text.strip()
    if not _PLAIN_DECIMAL.fullmatch(amount):
        raise ValueError(f"{text[:40]!r} is no {noun}; write US dollars as plain decimals, {example}")
    usd = Decimal(amount)
    if usd > highest_usd:
        raise ValueError(f"{text[:40]} is more than {highest_usd:,} dollars")
    if usd != round(usd, _DECIMALS):
        raise ValueError(f"{text[:40]} has more than {_DECIMALS} decimals")
    return nanos_from_usd(usd)


def divide_half_even(amount: int, parts: int) -> int:
    """Return `amount / parts` to the nearest whole number, a tie to the even one; parts > 0."""
    whole, rest = divmod(amount, parts)
    twice = 2 * rest
    return whole + (twice > parts or (twice == parts and whole % 2 == 1))


def usd_text(nanos: int) -> str:
    """Return the exact dollars as decimal text for JSON: "0.0005232", "2.1", "0"; never an exponent."""
    whole, fraction = divmod(abs(nanos), NANOS_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0")
    return ("-" if nanos < 0 else "") + (f"{whole}.{decimals}" if decimals else str(whole))


def format_usd(nanos: int) -> str:
    """Return dollars as people read them: "$1,234.50", "$0.31", "$0.0005232".

    Cents from one dollar up; below, four significant digits and never less than two decimals. It may be
    rounded, so nothing reads it back.
    """
    amount = abs(nanos)
    unit = 10 ** max(len(str(amount)) - _SIGNIFICANT_DIGITS, 0)
    if amount >= NANOS_PER_USD:
        unit = NANOS_PER_USD // 100
    whole, fraction = divmod(divide_half_even(amount, unit) * unit, NANOS_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return ("-" if nanos < 0 else "") + f"${whole:,}.{decimals}"
