"""Budgets as people write them: amounts, thresholds, changes; and what is said of them."""

import pytest

from batchmill.budgets.edits import Changes, edited
from batchmill.budgets.limits import limit_nanos, thresholds_of
from batchmill.budgets.model import Budget, OnLimit, Origin, Period, Scope
from batchmill.budgets.words import command, raising
from batchmill.errors import MisuseError

DAILY = Budget(scope=Scope.TENANT, name="acme", period=Period.DAY, limit_nanos=5)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("5", 5_000_000_000),
        (" 5.00 ", 5_000_000_000),
        (".5", 500_000_000),
        ("0", 0),
        ("0.000000001", 1),
        ("0.0000000010", 1),
        ("9000000000", 9_000_000_000_000_000_000),
    ],
)
def test_amounts_are_plain_decimals(text: str, nanos: int) -> None:
    """To the nano-dollar; 0 is a limit too."""
    assert limit_nanos(text) == nanos


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-5", "+5", "$5", "5$", "5 USD", "€5", "1,000", "1_000", "5e3", "NaN", "inf", "-inf", "0x5", "five"),
        *("٥", "5.", "5..0", "0.0000000001", "1.0000000001", "9000000001", "9" * 31, "5\n6"),
    ],
)  # fmt: skip
def test_anything_else_is_no_amount(text: str) -> None:
    """Whatever could be read in two ways, or is nothing that can be kept."""
    with pytest.raises(ValueError, match=r"dollars|decimals"):
        limit_nanos(text)


def test_an_amount_refused_says_how_to_write_it() -> None:
    """A currency sign is met with the same amount without it."""
    with pytest.raises(
        ValueError, match=r"'\$5' is no amount; write US dollars as plain decimals, 5 or 5\.00"
    ):
        limit_nanos("$5")


def test_thresholds_ascend() -> None:
    """Whole percentages from 1 to 100, the lowest first."""
    assert thresholds_of("80") == (80,)
    assert thresholds_of("1, 50,100") == (1, 50, 100)
    for text in ("", "0", "101", "75,", "75,75", "90,75", "75.5", "75%", "-5", "٧٥", "9999999999"):
        with pytest.raises(ValueError, match="75,90,100"):
            thresholds_of(text)


def test_what_is_not_named_stays() -> None:
    """Only what is given changes."""
    strict = edited(DAILY, Changes(on_limit=OnLimit.DOWNGRADE, downgrade_percent=80, thresholds=(50,)))
    again = edited(strict, Changes(limit_nanos=0, allows_unpriced=True))
    assert (again.limit_nanos, again.allows_unpriced, again.thresholds) == (0, True, (50,))
    assert (again.on_limit, again.downgrade_percent) == (OnLimit.DOWNGRADE, 80)
    assert edited(again, Changes(allows_unpriced=False)).allows_unpriced is False
    assert edited(again, Changes(on_limit=OnLimit.REJECT)).downgrade_percent == 100


def test_downgrade_at_is_for_those_that_downgrade() -> None:
    """A percentage that nothing goes by is refused."""
    with pytest.raises(MisuseError, match="the daily budget of tenant acme does not ask cheaper models"):
        edited(DAILY, Changes(downgrade_percent=80))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (DAILY, "`batchmill budget set tenant acme --day USD` raises it"),
        (
            Budget(scope=Scope.TYPE, name="a b; c", period=Period.TOTAL, limit_nanos=1),
            "`batchmill budget set type 'a b; c' --total USD` raises it",
        ),
        (
            Budget(scope=Scope.GLOBAL, period=Period.WEEK, limit_nanos=1, origin=Origin.ENVIRONMENT),
            "a higher AI_WEEKLY_BUDGET raises it",
        ),
    ],
)
def test_what_raises_a_limit_can_be_pasted(budget: Budget, said: str) -> None:
    """A name with a blank is quoted; what a variable sets is raised by the variable."""
    assert raising(budget) == said
    assert command(DAILY) == "batchmill budget set tenant acme"
