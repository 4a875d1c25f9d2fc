"""What an answer is worth keeping for: what it may save, for the room it takes.

Frequency × cost / size, as Greedy-Dual-Size-Frequency has it (L. Cherkasova, "Improving WWW Proxies Performance with
Greedy-Dual-Size-Frequency Caching Policy", HP Labs 1998), with a half-life in the place of its inflating clock: that
one needs a list in order of worth at all times, this one only the row itself. What the formula does not know is whether
a question comes back at regular times: what is asked once a month looks idle for most of it.
"""

from math import exp2, floor, log2

HALF_LIFE_MS = 7 * 86_400_000
"""An answer that nobody has used for so long is worth half."""

LEAST_NANOS = 10_000
"""What any answer saves, $0.00001: also one of a model of one's own, or of an unknown price, took its time."""

ENTRY_BYTES = 300
"""What an entry takes beside its answer, with its places in two indexes; measured on both databases."""

MIDDLE_RATING = 3.0
"""Of 0 to 5: worth as much as without a rating. A step up is worth twice as much, a step down half."""

RANKS_A_DOUBLING = 32
"""Answers whose worth differs by less than the 32nd root of 2, some two per cent, may go in any order."""


def rank_of(
    *, answer_bytes: int, cost_nanos: int | None, uses: int, idle_ms: int, rating: float | None
) -> int:
    """The step that an answer's worth is on: the lower, the sooner it goes.

    Args:
        answer_bytes: The size of its body.
        cost_nanos: What its call had cost; None = that is not known.
        uses: How often it has answered without a call.
        idle_ms: For how long it has not been used, or made.
        rating: 0 to 5; None = nobody has rated it.
    """
    doublings = (
        log2(LEAST_NANOS + max(0, cost_nanos or 0))
        + log2(1 + max(0, uses))
        + (0.0 if rating is None else rating - MIDDLE_RATING)
        - max(0, idle_ms) / HALF_LIFE_MS
        - log2(ENTRY_BYTES + answer_bytes)
    )
    return floor(doublings * RANKS_A_DOUBLING)


def nanos_per_kb(rank: int) -> float:
    """The least worth of a step, in nano-dollars for each 1,000 bytes; to be told, not to be added up."""
    return 1_000 * exp2(rank / RANKS_A_DOUBLING)
