"""Setting aside: a call without room in a budget need not stop its batch, while others of it may still fit.

One long document among short ones, or one model of several whose own budget is used up, is set aside for a while; the
others go on, so that a budget is used for what it was given for. The batch waits as soon as that has no prospect: the
call is no larger than others were, or so many in a row did not fit, or it was tried again and again while no other
fitted, nor waited for calls in flight to make room.
"""

from collections import Counter
from dataclasses import dataclass, field

from batchmill.requests.work import Attempt, Withheld

MOST_IN_A_ROW = 32
MOST_ASIDE = 10_000
MOST_BATCHES = 1_000
LEAST_MS, EACH_MS = 2_000, 10
"""The more are aside the longer each stays there: trying them again must not become the work."""
MOST_TRIES, MOST_TRIES_IN_USE = 2, 30
"""So often a call is tried again while nothing else of its batch moves. Calls in flight are given a minute, whose ever
they are: other workers may have lines of the batch that wait for them."""
LARGER = 1.1
"""So many times as large as the smallest that fitted is worth setting aside."""


@dataclass(slots=True)
class _Aside:
    """The calls of one batch.

    Attributes:
        moved: How many times one found room, or waited for some that calls in flight may make.
        smallest_nanos: The least that was held for one of them.
        in_a_row: How many have found no room since one last did; the same one tried again counts once while calls in
            flight hold some of the budget.
        tried: `moved` as it was when a request was last set aside, by request.
        in_vain: How often in a row a request was tried again while nothing had moved. Once tells nothing: the batch may
            have waited meanwhile.
    """

    moved: int = 0
    smallest_nanos: int | None = None
    in_a_row: int = 0
    tried: dict[int, int] = field(default_factory=dict)
    in_vain: Counter[int] = field(default_factory=Counter)

    def forget(self, request_id: int) -> None:
        """It is not aside any more."""
        self.tried.pop(request_id, None)
        del self.in_vain[request_id]

    def is_in_vain(self, request_id: int, withheld: Withheld) -> bool:
        """Whether to try a request again has had no prospect for too often."""
        if self.tried.get(request_id, -1) < self.moved:
            del self.in_vain[request_id]
            return False
        self.in_vain[request_id] += 1
        return self.in_vain[request_id] >= (MOST_TRIES_IN_USE if withheld.is_in_use else MOST_TRIES)


class SetAside:
    """Decides, for one worker process as long as it lives, whether to set a call aside or to let its batch wait."""

    def __init__(self) -> None:
        self._batches: dict[int, _Aside] = {}

    def note(self, attempt: Attempt) -> None:
        """A call found room in its budgets."""
        if attempt.held_nanos is None:
            return
        batch = self._of(attempt.job.batch.id)
        batch.moved += 1
        batch.in_a_row = 0
        batch.forget(attempt.job.request_id)
        if batch.smallest_nanos is None or attempt.held_nanos < batch.smallest_nanos:
            batch.smallest_nanos = attempt.held_nanos

    def note_waiting(self, batch_id: int) -> None:
        """A call waits for room that calls in flight may make."""
        self._of(batch_id).moved += 1

    def delay_ms(self, batch_id: int, request_id: int, withheld: Withheld) -> int | None:
        """For how long a call that found no room is set aside; None = its batch is to wait."""
        batch = self._of(batch_id)
        batch.in_a_row += not (withheld.is_in_use and request_id in batch.tried)
        if (
            batch.in_a_row > MOST_IN_A_ROW
            or len(batch.tried) >= MOST_ASIDE
            or batch.is_in_vain(request_id, withheld)
            or not self._may_others_fit(batch, withheld)
        ):
            del self._batches[batch_id]
            return None
        batch.tried[request_id] = batch.moved
        return LEAST_MS + EACH_MS * len(batch.tried)

    def _of(self, batch_id: int) -> _Aside:
        if batch_id not in self._batches and len(self._batches) >= MOST_BATCHES:
            del self._batches[next(iter(self._batches))]  # the one that came first
        return self._batches.setdefault(batch_id, _Aside())

    @staticmethod
    def _may_others_fit(batch: _Aside, withheld: Withheld) -> bool:
        if withheld.is_of_some_lines:
            return True
        if withheld.needs_nanos is None:
            return False
        if batch.smallest_nanos is None:
            return True  # nothing is known of the others: the first line may be the long document
        return withheld.needs_nanos > LARGER * batch.smallest_nanos
