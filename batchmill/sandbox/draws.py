"""Which call meets which fault: by the name of its model, or by chance.

A model named `sandbox/NAME` meets the fault NAME, `sandbox/flaky-N` a 500 on the first N calls of each
distinct prompt. Every other call may meet one of the faults that come at a rate.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate
from typing import Final

from batchmill.sandbox.faults import FAULTS, Fault, find_fault
from batchmill.sandbox.prompts import Asked

PREFIX: Final = "sandbox/"
FLAKY: Final = "flaky-"
REMEMBERED: Final = 1 << 17
"""Prompts whose calls are counted; whoever has not been called for so many others starts anew."""

_HASH_BYTES: Final = 6  # what a float holds exactly
_ALL_HASHES: Final = 1 << (8 * _HASH_BYTES)


class Draws:
    """Finds the fault of each call.

    Chance is a hash of seed, model, prompt and how many calls of that prompt came before: the same calls meet
    the same faults, in whatever order and however many at a time they come.

    Args:
        rates: Share of calls by name of fault (as in `FAULTS`), 0 to 1, together at most 1.
        seed: Another seed, other calls.
    """

    def __init__(self, rates: Mapping[str, float], seed: int) -> None:
        ordered = sorted(rates)
        self._faults = [FAULTS[name] for name in ordered]
        self._bounds = list(accumulate(rates[name] for name in ordered))
        self._seed = seed
        self._calls = CallCounts()

    def fault_of(self, asked: Asked) -> Fault | None:
        """The fault that this call meets; None when it is to be answered."""
        if asked.model.startswith(PREFIX):
            name = asked.model.removeprefix(PREFIX)
            if name.startswith(FLAKY) and name.removeprefix(FLAKY).isdecimal():
                return FAULTS["500"] if self._calls.add(asked) < int(name.removeprefix(FLAKY)) else None
            if fault := find_fault(name):
                return fault
        return self._draw(asked) if self._faults else None

    def _draw(self, asked: Asked) -> Fault | None:
        nth = self._calls.add(asked)
        drawn = f"{self._seed} {asked.prompt_sha256} {nth} {asked.model}".encode("utf-8", "replace")
        digest = blake2b(drawn, digest_size=_HASH_BYTES).digest()
        place = bisect_right(self._bounds, int.from_bytes(digest, "big") / _ALL_HASHES)
        return self._faults[place] if place < len(self._faults) else None


class CallCounts:
    """How often each prompt was asked of a model, for the `REMEMBERED` that were asked last."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def add(self, asked: Asked) -> int:
        """Count a call; how many came before it."""
        key = bytes.fromhex(asked.prompt_sha256[:32]) + asked.model.encode("utf-8", "replace")
        before = self._counts.pop(key, 0)
        self._counts[key] = before + 1
        if len(self._counts) > self._remembered:
            self._counts.popitem(last=False)
        return before
