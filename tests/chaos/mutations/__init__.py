"""What is broken on purpose, and how the chaos tests find it.

Where two parts watch over one promise, both are broken: one alone breaks nothing.
"""

from tests.chaos.mutations.calls import CACHE, DELIVERY, DISPATCH
from tests.chaos.mutations.fences import FENCES
from tests.chaos.mutations.holds import HOLDS
from tests.chaos.mutations.settlements import SETTLEMENT
from tests.chaos.mutations.sweeps import SWEEP

MUTANTS = [*FENCES, *HOLDS, *SWEEP, *SETTLEMENT, *DISPATCH, *CACHE, *DELIVERY]
IN_SHORT = {
    "everything fits into a budget": "sqlite",
}
"""Tried wherever the tests are run, on one database."""
