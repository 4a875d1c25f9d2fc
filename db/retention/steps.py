"""Steps: short writing transactions, apart from each other, so that other work goes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from db.cache_drops import Pace
from db.engine import Database, Transaction

T = TypeVar("T")


@dataclass(slots=True)
class Steps:
    """Writing transactions, each after leave to go on, at the pace of the cache's clean-up.

    Args:
        check: Called before each; what it raises ends the work between two steps.
    """

    database: Database
    check: Callable[[], None]
    pace: Pace = field(default_factory=Pace)

    @property
    def most(self) -> int:
        """How many rows the next one is to take, by how long the last one took."""
        return self.pace.size

    def take(self, do: Callable[[Transaction], T]) -> T:
        """One step."""
        self.check()
        with self.pace:
            return self.database.persist(do)
