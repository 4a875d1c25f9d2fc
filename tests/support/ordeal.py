"""Ordeals: outages that a batch goes through while it is answered, each begun once so much of it is done."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors import BrokerError, DatabaseError
from batchmill.requests.model import BatchState
from tests.support.arena import HASTY, Arena
from tests.support.mill import Sandbox
from tests.support.orders import hand_in, question_file
from tests.support.proof import Proof, prove
from tests.support.spending import Witness

LINES = 120
LATENCY = ("--latency", "0.3-0.6")
"""The provider's: so slow that outages hit calls at every stage, and the batch outlasts the first of them."""
BUDGET_USD = "50"
"""With room for all of it, and for each unknown call at its hold: what the longest answer would cost."""
CALL_TIMEOUT_S = 2.5
PATIENT = HASTY | {
    "BATCHMILL_CALL_TIMEOUT_S": str(CALL_TIMEOUT_S),
    "BATCHMILL_MAX_TRIES": "20",
    "BATCHMILL_BACKOFF_CAP_S": "1",
    "BATCHMILL_CIRCUIT_FAILURES": "1000",
}
"""No line gives up for an outage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Something fails, and works again.

    Attributes:
        after_calls: It begins when the provider has seen so many.
    """

    after_calls: int
    lasts_s: float
    begin: Callable[[], object]
    end: Callable[[], object]

    def happen(self) -> None:
        """Fail, and work again."""
        self.begin()
        time.sleep(self.lasts_s)
        self.end()


def two_outages(
    seed: int, begin: Callable[[], object], end: Callable[[], object], *, lasts_s: tuple[float, float]
) -> list[Outage]:
    """At moments and for as long as the seed decides."""
    draw = random.Random(seed)
    return [
        Outage(after_calls=draw.randint(*between), lasts_s=draw.uniform(*lasts_s), begin=begin, end=end)
        for between in ((8, 30), (40, 60))
    ]


@dataclass(slots=True)
class Ordeal:
    """A batch that is to be answered whatever happens, some of whose lines ask what others ask, under a budget.

    Args:
        folder: Where its files are put.
    """

    arena: Arena
    provider: Sandbox
    folder: Path
    seed: int = 0

    def begin(self, environ: Mapping[str, str] | None = None) -> str:
        """Hand it in; its id.

        Args:
            environ: What else all of the arena's commands see.
        """
        self.arena.mill.environ |= PATIENT | {"OPENAI_BASE_URL": self.provider.url} | dict(environ or {})
        assert self.arena.mill.quickly("budget", "set", "global", "--total", BUDGET_USD).returncode == 0
        return hand_in(self.arena, question_file(self._source, LINES, self.seed))

    def endure(self, ahead: Sequence[Outage], *, within_s: float) -> None:
        """Have all of it answered, through all of these outages in turn."""
        witness = Witness(self.arena.database, self.provider)
        deadline, left, begun = time.monotonic() + within_s, list(ahead), list[Future[None]]()
        with ThreadPoolExecutor(1, thread_name_prefix="outages") as beside:
            while True:
                assert time.monotonic() < deadline, f"not within {within_s} s; {self.arena.log()[-3000:]}"
                with suppress(BrokerError, DatabaseError):  # what fails does so for us as well
                    self.arena.tend()
                    calls = witness.look()
                    while left and calls >= left[0].after_calls:
                        begun.append(beside.submit(left.pop(0).happen))
                    if witness.is_quiet(BatchState.COMPLETED) and all(one.done() for one in begun):
                        break
                time.sleep(0.03)
            assert not left, f"answered before it came to {left[0]}"
            for one in begun:
                one.result()

    def prove(self, batch: str) -> Proof:
        """Find all promises kept, and the calls listed of which nobody knows what became."""
        return prove(self.arena, self.provider, {batch: self._source}, self.folder)

    @property
    def _source(self) -> Path:
        return self.folder / "in.jsonl"
