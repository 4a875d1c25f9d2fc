"""What becomes of a budget that is changed: what is not named stays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from batchmill.budgets.model import Budget, OnLimit, Origin
from batchmill.errors import MisuseError


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be set of a budget; None leaves it as it is. The fields are those of `Budget`."""

    limit_nanos: int | None = None
    zone: str | None = None
    thresholds: Sequence[int] | None = None
    on_limit: OnLimit | None = None
    downgrade_percent: int | None = None
    allows_unpriced: bool | None = None

    def named(self) -> dict[str, object]:
        """Those that are to be set."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


def edited(budget: Budget, changes: Changes) -> Budget:
    """The budget as it is to be.

    Raises:
        MisuseError: The changes contradict each other, or what the budget is.
    """
    if changes.zone is not None and budget.origin is Origin.ENVIRONMENT:
        raise MisuseError(
            f"{budget.title} is set by a variable, and goes by BATCHMILL_TIMEZONE",
            "set that in the environment instead",
        )
    after: Budget = replace(budget, **changes.named())  # type: ignore[arg-type]
    if after.on_limit is OnLimit.DOWNGRADE:
        return after
    if changes.downgrade_percent is not None:
        raise MisuseError(
            f"{after.title} does not ask cheaper models: at its limit it says {after.on_limit}",
            "say --on-limit downgrade as well, or leave --downgrade-at out",
        )
    return replace(after, downgrade_percent=100)
