"""Money: whole nano-dollars, rounded once."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.money.nanos import (
    MAX_NANOS,
    divide_half_even,
    format_usd,
    nanos_from_usd,
    usd_text,
)

amounts = st.integers(min_value=-MAX_NANOS, max_value=MAX_NANOS)


@given(amounts)
def test_text_and_back(nanos: int) -> None:
    """The text in JSON is exact: reading it gives the same nanos."""
    assert nanos_from_usd(usd_text(nanos)) == nanos


@pytest.mark.parametrize(
    ("usd", "nanos"),
    [("0.0000000005", 0), ("0.0000000015", 2), ("0.0000000025", 2), ("-0.0000000015", -2), ("1e-30", 0)],
)
def test_a_tie_goes_to_the_even_nano(usd: str, nanos: int) -> None:
    """Half a nano goes to the even neighbour."""
    assert nanos_from_usd(usd) == nanos


def test_a_long_number_is_rounded_once() -> None:
    """Digits beyond any working precision still decide a tie: there is one rounding, not two."""
    assert nanos_from_usd("0.0000000025" + "0" * 60 + "1") == 3


@given(st.integers(min_value=-(10**30), max_value=10**30), st.integers(min_value=1, max_value=10**18))
def test_whole_number_division_rounds_as_fractions_do(amount: int, parts: int) -> None:
    """The rounding of the fast path is Python's own half-even rounding of the exact fraction."""
    assert divide_half_even(amount, parts) == round(Fraction(amount, parts))


@pytest.mark.parametrize("usd", [0.1, True, None, b"1"])
def test_a_float_is_not_money(usd: Any) -> None:
    """What has lost its amount, or never was one, is refused by type."""
    with pytest.raises(TypeError, match="money is Decimal"):
        nanos_from_usd(usd)


@pytest.mark.parametrize("usd", ["", "ten", "NaN", "Infinity", "1e999999", "9223372037", Decimal("-1e30")])
def test_what_cannot_be_kept_is_refused(usd: str | Decimal) -> None:
    """No number, no end, or wider than a column: a ValueError that names the value."""
    with pytest.raises(ValueError, match="dollars"):
        nanos_from_usd(usd)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (523_200, "$0.0005232"),
        (300_000, "$0.0003"),
        (310_000_000, "$0.31"),
        (123_456_789, "$0.1235"),
        (999_990_000, "$1.00"),
        (2_100_000_000, "$2.10"),
        (1_234_567_000_000, "$1,234.57"),
        (-523_200, "-$0.0005232"),
    ],
)
def test_people_read_sensible_digits(nanos: int, text: str) -> None:
    """Cents from a dollar up, four significant digits below it."""
    assert format_usd(nanos) == text


@pytest.mark.parametrize(
    ("nanos", "text"), [(0, "0"), (1, "0.000000001"), (2_100_000_000, "2.1"), (-5, "-0.000000005")]
)
def test_json_has_no_exponent(nanos: int, text: str) -> None:
    """Decimal text is plain, with no zeros to spare."""
    assert usd_text(nanos) == text
