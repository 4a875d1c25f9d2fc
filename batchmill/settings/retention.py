"""How long what is over is kept."""

from typing import Annotated

from pydantic import AfterValidator

from batchmill.settings.fields import Group, setting, whole

MOST_DAYS = 36_500
LEAST_LEDGER_DAYS = 62
"""Reports and budgets look that far back for single entries: a month, and the one before it."""


def _ledger_days(days: int) -> int:
    if 0 < days < LEAST_LEDGER_DAYS:
        raise ValueError(f"reports and budgets need the entries of {LEAST_LEDGER_DAYS} days")
    return days


class RetentionSettings(Group):
    """How long what is over is kept. 0 = for ever. Set the same everywhere."""

    batches_days: int = whole(
        0,
        "BATCHMILL_KEEP_BATCHES_DAYS",
        "How many days after its end a batch keeps its lines and answers; 0 = for ever.",
        least=0,
        most=MOST_DAYS,
    )
    direct_days: int = whole(
        30,
        "BATCHMILL_KEEP_DIRECT_DAYS",
        "The same of a single request, whose caller has its answer; 0 = for ever.",
        least=0,
        most=MOST_DAYS,
    )
    ledger_days: Annotated[int, AfterValidator(_ledger_days)] = setting(
        400,
        "BATCHMILL_KEEP_LEDGER_DAYS",
        meaning="After how many days entries of the ledger are added up to daily rows; 0 = never.",
        accepts=f"0, or a whole number from {LEAST_LEDGER_DAYS} to {MOST_DAYS}",
        ge=0,
        le=MOST_DAYS,
    )
    files_days: int = whole(
        0,
        "BATCHMILL_KEEP_FILES_DAYS",
        "How many days a file of the service is kept that has no expiry of its own; 0 = for ever.",
        least=0,
        most=MOST_DAYS,
    )
