"""Steps: as much at a time as takes a short while, whatever the rows weigh."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from db.engine import Database, Transaction

T = TypeVar("T")

AIM_S = 0.1
"""So long a transaction may keep others from writing on SQLite."""
LEAST, FIRST, MOST = 20, 200, 2_000
"""Rows of a step."""


@dataclass(slots=True)
class Steps:
    """Writing transactions, each after leave to go on; `most` is how many rows the next one may take.

    Args:
        check: Called before each; what it raises ends the work between two steps.
    """

    database: Database
    check: Callable[[], None]
    monotonic: Callable[[], float] = time.monotonic
    most: int = field(default_factory=lambda: FIRST, init=False)

    def take(self, do: Callable[[Transaction], T]) -> T:
        """One step."""
        self.check()
        return self.database.persist(do)

    def take_measured(self, do: Callable[[Transaction], T]) -> T:
        """One step of up to `most` rows; the next may take more or fewer, by how long this one took."""
        begun_s = self.monotonic()
        done = self.take(do)
        took_s = self.monotonic() - begun_s
        if took_s > AIM_S:
            self.most = max(LEAST, self.most // 2)
        elif took_s < AIM_S / 4:
            self.most = min(MOST, self.most * 2)
        return done
