"""What people write of a budget: how much, at which percentages they are told."""

from itertools import pairwise

from batchmill.money.nanos import nanos_from_plain

HIGHEST_USD = 9_000_000_000
"""What both databases can keep, with room for what is held beside it."""


def limit_nanos(text: str) -> int:
    """A limit in US dollars as nano-dollars; 0 is one: nothing may be spent.

    Raises:
        ValueError: It is no plain decimal number from 0 to `HIGHEST_USD`, or has more than nine decimals.
    """
    return nanos_from_plain(text, noun="amount", example="5 or 5.00", highest_usd=HIGHEST_USD)


def thresholds_of(text: str) -> tuple[int, ...]:
    """Percentages of a limit, ascending: `75,90,100`.

    Raises:
        ValueError: One is no whole number from 1 to 100, or they do not ascend.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) <= 3 and 1 <= int(word) <= 100):
            raise ValueError(
                f"{word[:40]!r} is no threshold; write whole percentages from 1 to 100, as in 75,90,100"
            )
    percentages = tuple(map(int, words))
    if any(after <= before for before, after in pairwise(percentages)):
        raise ValueError(f"{text[:40]!r} does not ascend; write the lowest first, as in 75,90,100")
    return percentages
