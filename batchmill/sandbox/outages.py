"""Outages by order: what a POST of `/sandbox/faults` may hold, and which rates are in force after it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchmill.sandbox.faults import FAULTS, find_fault
from batchmill.sandbox.outcomes import Complaint, ComplaintError
from batchmill.sandbox.prompts import WireName

_ROUNDING = 1e-9  # ten times 0.1 may come to a little more than 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Fault rates for some of the calls.

    Attributes:
        rates: Share of calls by fault; empty for none.
        wire: Calls of this wire alone; None for every wire.
        model: Calls of this model alone; None for every model.
    """

    rates: Mapping[str, float]
    wire: WireName | None = None
    model: str | None = None


def read_outage(body: dict[str, Any] | None) -> Outage:
    """The order.

    Raises:
        ComplaintError: It names what there is not, or more than every call.
    """
    if body is None or not isinstance(body.get("rates"), dict):
        raise _refused('say which: {"rates": {"500": 1.0}}, with "wire" or "model" if you like', "rates")
    if unknown := [name for name in body if name not in ("rates", "wire", "model")]:
        raise _refused(f"there is nothing called {unknown[0]!r} here", unknown[0])
    wire, model = body.get("wire"), body.get("model")
    if wire is not None and wire not in list(WireName):
        raise _refused(f"there is no wire {wire!r}; there are {', '.join(WireName)}", "wire")
    if model is not None and not isinstance(model, str):
        raise _refused("a model is a text", "model")
    rates = _rates(body["rates"])
    return Outage(rates=rates, wire=None if wire is None else WireName(wire), model=model)


def _rates(given: dict[str, Any]) -> Mapping[str, float]:
    rates: dict[str, float] = {}
    for name, rate in given.items():
        fault = find_fault(name)
        if fault is None:
            raise _refused(f"there is no fault {name!r}; there are {', '.join(FAULTS)}", "rates")
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 <= rate <= 1.0:
            raise _refused(f"{rate!r} is no rate from 0 to 1", "rates")
        rates[fault.name] = rates.get(fault.name, 0.0) + rate
    together = math.fsum(rates.values())
    if together > 1.0 + _ROUNDING:
        raise _refused(f"the rates together are {together:g}; they may be 1 at most", "rates")
    return rates


def _refused(message: str, param: str) -> ComplaintError:
    return ComplaintError(Complaint(message=message, param=param, code="invalid_value"))
