"""The witness: a provider's own log of calls, held against our books.

It is read once, a thousand calls at a time; what is kept is a bit for each attempt. Calls that begin meanwhile do
no harm: an attempt is recorded before its call is made.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import orjson

from batchmill.errors import InputError
from batchmill.findings import Example, Finding, Level
from batchmill.money.nanos import usd_text
from batchmill.requests.ids import CallName, call_name
from db.audit import EXAMPLES
from db.audit.check import REPORT_IT
from db.audit.witness import Recorded, recorded
from db.engine import Database

CALLS_A_STEP = 1_000
LONGEST_LINE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A line of the log; `seen` is None for a call that is not of a batch."""

    seen: CallName | None
    model: str
    cost_nanos: int


@dataclass(slots=True)
class _Comparison:
    """What has been found so far."""

    calls: int = 0
    foreign: int = 0
    unrecorded: list[CallName] = field(default_factory=list)
    repeated: list[CallName] = field(default_factory=list)
    # By model, what the provider charged and what our books say, for calls of known cost; and the rest of the bill.
    billed: Counter[str] = field(default_factory=Counter)
    booked: Counter[str] = field(default_factory=Counter)
    open_nanos: int = 0
    _met: bytearray = field(default_factory=bytearray)

    def add(self, call: _Call, attempt: Recorded | None) -> None:
        """Compare one call with its attempt."""
        self.calls += 1
        if call.seen is None:
            self.foreign += 1
        elif attempt is None:
            self.unrecorded.append(call.seen)
        elif self._meet(attempt.id):
            self.repeated.append(call.seen)
        elif attempt.cost_nanos is None:
            self.open_nanos += call.cost_nanos
        else:
            self.billed[call.model] += call.cost_nanos
            self.booked[call.model] += attempt.cost_nanos
        del self.unrecorded[EXAMPLES + 1 :], self.repeated[EXAMPLES + 1 :]

    def _meet(self, attempt: int) -> bool:
        """Note an attempt; whether it has been met before."""
        place, bit = attempt >> 3, 1 << (attempt & 7)
        if place >= len(self._met):
            self._met.extend(bytes(place + 1 - len(self._met)))
        is_known = bool(self._met[place] & bit)
        self._met[place] |= bit
        return is_known


def compare(database: Database, log: Path) -> Iterator[Finding]:
    """Hold a sandbox's call log against the books.

    Raises:
        InputError: The log cannot be read, or is none.
    """
    comparison = _Comparison()
    calls = _read(log)
    while step := list(islice(calls, CALLS_A_STEP)):
        with database.read() as tx:
            known = recorded(tx, list({call.seen for call in step if call.seen is not None}))
        for call in step:
            comparison.add(call, known.get(call.seen) if call.seen is not None else None)
    yield _of_calls(
        "witness-recorded",
        3,
        "every call that the provider saw had been recorded before",
        comparison.unrecorded,
        "no such call is recorded: it is of another database, or " + REPORT_IT,
    )
    yield _of_calls("witness-once", 2, "no call reached the provider twice", comparison.repeated, REPORT_IT)
    yield _of_bill(comparison)
    if comparison.foreign:
        yield Finding(
            check="witness-others",
            level=Level.WARNING,
            message=f"{comparison.foreign} of {comparison.calls} calls in the log are not of any batch",
            hint="somebody else called the same provider",
        )


def _of_calls(check: str, invariant: int, promise: str, seen: list[CallName], hint: str) -> Finding:
    if not seen:
        return Finding(check=check, invariant=invariant, level=Level.OK, message=promise)
    return Finding(
        check=check,
        invariant=invariant,
        level=Level.FAILURE,
        message=f"not so: {promise}",
        examples=tuple(
            Example(batch=call.batch, place=call.place, attempt=call.number, detail="seen by the provider")
            for call in seen[:EXAMPLES]
        ),
        has_more=len(seen) > EXAMPLES,
        hint=hint,
    )


def _of_bill(comparison: _Comparison) -> Finding:
    billed, booked = comparison.billed, comparison.booked
    message = (
        f"the provider charged ${usd_text(billed.total())} for calls of known cost, the books say"
        f" ${usd_text(booked.total())}; ${usd_text(comparison.open_nanos)} more are for calls whose cost is not known"
    )
    wrong = sorted(model for model in billed if billed[model] != booked[model])
    if not wrong:
        return Finding(check="witness-bill", invariant=7, level=Level.OK, message=message)
    return Finding(
        check="witness-bill",
        invariant=7,
        level=Level.FAILURE,
        message=message,
        examples=tuple(
            Example(detail=f"{model}: charged ${usd_text(billed[model])}, booked ${usd_text(booked[model])}")
            for model in wrong[:EXAMPLES]
        ),
        has_more=len(wrong) > EXAMPLES,
        hint="the two price these models differently, or " + REPORT_IT,
    )


def _read(log: Path) -> Iterator[_Call]:
    try:
        with log.open("rb") as file:
            for number in count(1):
                line = file.readline(LONGEST_LINE)
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    return  # a line that is just being written is none yet
                yield _call(line, f'"{log}", line {number}')
    except OSError as error:
        raise InputError(
            f'"{log}" cannot be read: {error.strerror}', "name the log of `batchmill sandbox --log`"
        ) from error


def _call(line: bytes, where: str) -> _Call:
    try:
        said: Any = orjson.loads(line)
        name, model, cost_nanos = said["client_request_id"], said["model"], said["cost_nanos"]
    except (ValueError, KeyError, TypeError):
        name = model = cost_nanos = None
    if not (isinstance(name, str) and isinstance(model, str) and isinstance(cost_nanos, int)):
        raise InputError(
            f"{where} is no call of a sandbox's log", "name the log of `batchmill sandbox --log`"
        )
    return _Call(seen=call_name(name), model=model, cost_nanos=cost_nanos)
