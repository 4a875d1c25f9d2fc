"""When a budget will be used up, if it goes on as it did since its period began."""

LEAST_MS = 3 * 86_400_000
"""Before that a pace says nothing."""


def runs_out_ms(
    *, limit_nanos: int, spent_nanos: int, start_ms: int, now_ms: int, end_ms: int | None
) -> int | None:
    """The moment at which it will be used up; None when not before it turns, when it is used up already, or when its
    period is younger than three days. One that never turns is looked at for thirty days.

    Honest weakness: the pace is the mean since the period began; weekdays are not told apart.
    """
    over_ms = now_ms - start_ms
    left_nanos = limit_nanos - spent_nanos
    if over_ms < LEAST_MS or spent_nanos <= 0 or left_nanos <= 0:
        return None
    at_ms = now_ms + left_nanos * over_ms // spent_nanos
    turns_ms = now_ms + 30 * 86_400_000 if end_ms is None else end_ms
    return at_ms if at_ms < turns_ms else None
