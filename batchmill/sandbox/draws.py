"""Which call meets which fault: by the name of its model, or by chance.

A model named `sandbox/NAME` meets the fault NAME, `sandbox/flaky-N` a 500 on the first N calls of each
distinct prompt. Every other call may meet one of the faults that come at a rate.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final

from batchmill.sandbox.faults import FAULTS, Fault, find_fault
from batchmill.sandbox.outages import Outage
from batchmill.sandbox.prompts import Asked, WireName

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
        self._rates = _Rates(rates)
        self._narrower: dict[tuple[WireName | None, str | None], _Rates] = {}
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
        rates = self._rates_for(asked) if self._narrower else self._rates
        return self._draw(asked, rates) if rates.faults else None

    def order(self, outage: Outage) -> None:
        """Other rates from now on. Those for one wire or model go before those for all, and last until others for
        all are ordered."""
        if outage.wire is None and outage.model is None:
            self._rates = _Rates(outage.rates)
            self._narrower.clear()
        else:
            self._narrower[outage.wire, outage.model] = _Rates(outage.rates)

    def statement(self) -> list[dict[str, Any]]:
        """The rates in force, those for all first."""
        narrower = [
            {"wire": wire, "model": model, "rates": dict(rates.given)}
            for (wire, model), rates in self._narrower.items()
        ]
        return [{"wire": None, "model": None, "rates": dict(self._rates.given)}, *narrower]

    def _rates_for(self, asked: Asked) -> "_Rates":
        """The narrowest that there are: for wire and model, for the model, for the wire, for all."""
        for scope in ((asked.wire, asked.model), (None, asked.model), (asked.wire, None)):
            if scope in self._narrower:
                return self._narrower[scope]
        return self._rates

    def _draw(self, asked: Asked, rates: "_Rates") -> Fault | None:
        nth = self._calls.add(asked)
        drawn = f"{self._seed} {asked.prompt_sha256} {nth} {asked.model}".encode("utf-8", "replace")
        digest = blake2b(drawn, digest_size=_HASH_BYTES).digest()
        return rates.at(int.from_bytes(digest, "big") / _ALL_HASHES)


class _Rates:
    """Faults side by side on the line from 0 to 1, each as long as its rate."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        ordered = sorted(rates)
        self.given = rates
        self.faults = [FAULTS[name] for name in ordered]
        self._bounds = list(accumulate(rates[name] for name in ordered))

    def at(self, point: float) -> Fault | None:
        """The fault at that point; None beyond the last."""
        place = bisect_right(self._bounds, point)
        return self.faults[place] if place < len(self.faults) else None


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
