"""Evidence: what a provider says that calls cost of which we do not know, read as it streams by.

CSV with the columns `request_id` and `cost_usd`, or JSON lines with these fields, in capitals or not; others are passed
by. A request's id is the name under which the provider saw the call, our `X-Client-Request-Id`:
`batch_req_<batch>_<place>/<attempt>`.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO

import orjson

from batchmill.errors import InputError
from batchmill.money.nanos import nanos_from_usd
from batchmill.requests.ids import CallName, call_name

NAMES = ("x-client-request-id", "client_request_id", "request_id")
"""The plainest first: a provider's own `request_id` may stand beside our name of the call."""
COST = "cost_usd"
LONGEST_LINE = 100_000
_HIGHEST_USD = 1_000_000
_PLAIN = re.compile(r"[0-9]{1,12}(\.[0-9]{1,40})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one call cost.

    Attributes:
        line: Where it stands, from 1; 0 = nowhere: its owner says so.
        cost_nanos: 0 = it was not billed.
    """

    line: int
    call: CallName
    cost_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BadEvidence:
    """Why a line is none."""

    line: int
    message: str


def read_evidence(stream: BinaryIO) -> Iterator[Evidence | BadEvidence]:
    """Yield what each line is.

    Raises:
        InputError: It is neither CSV with these columns nor JSON lines, or no UTF-8.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        rows = _rows(text)
        for line, row in rows:
            yield row if isinstance(row, BadEvidence) else _evidence(line, row)
    except UnicodeDecodeError:
        raise InputError("the evidence is not UTF-8", "save it as UTF-8") from None
    finally:
        text.detach()


def _rows(text: io.TextIOWrapper) -> Iterator[tuple[int, Mapping[str, Any] | BadEvidence]]:
    number, first = 1, _line_of(text)
    while first and not first.strip():
        number, first = number + 1, _line_of(text)
    if not first:
        raise InputError("there is no evidence: the input is empty", _FORM)
    if first.lstrip().startswith("{"):
        yield from _json_rows(number, first, text)
    else:
        yield from _csv_rows(number, first, text)


_FORM = f"give CSV with the columns request_id and {COST}, or JSON lines with these fields"


def _line_of(text: io.TextIOWrapper) -> str:
    line = text.readline(LONGEST_LINE)
    if len(line) == LONGEST_LINE:
        raise InputError("a line of the evidence is longer than 100 kB", _FORM)
    return line


def _json_rows(
    number: int, line: str, text: io.TextIOWrapper
) -> Iterator[tuple[int, Mapping[str, Any] | BadEvidence]]:
    while line:
        if line.strip():
            yield number, _json_row(number, line)
        number, line = number + 1, _line_of(text)


def _json_row(number: int, line: str) -> Mapping[str, Any] | BadEvidence:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        return BadEvidence(line=number, message="it is no JSON object")
    return {name.lower(): value for name, value in row.items()}


def _csv_rows(
    header: int, first: str, text: io.TextIOWrapper
) -> Iterator[tuple[int, Mapping[str, Any] | BadEvidence]]:
    columns = [name.strip().lower() for name in next(csv.reader([first]))]
    if COST not in columns or not set(NAMES) & set(columns):
        raise InputError(f"the evidence has the columns {', '.join(columns)[:200]}", _FORM)
    if twice := [name for name in (*NAMES, COST) if columns.count(name) > 1]:
        raise InputError(f"the evidence has the column {twice[0]} more than once", "leave one of them out")
    reader = csv.reader(iter(lambda: _line_of(text), ""), strict=True)
    while True:
        number = header + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, BadEvidence(line=number, message=f"it is no CSV: {error}")
            continue
        if not cells:
            continue
        if len(cells) != len(columns):
            message = f"of {len(columns)} columns it has {len(cells)}"
            yield number, BadEvidence(line=number, message=message)
        else:
            yield number, dict(zip(columns, cells, strict=True))


def _evidence(line: int, row: Mapping[str, Any]) -> Evidence | BadEvidence:
    name = next((row[key] for key in NAMES if row.get(key)), None)
    if not isinstance(name, str):
        return BadEvidence(line=line, message="request_id is missing")
    call = call_name(name.strip())
    if call is None:
        message = f"{name[:100]!a} is no name of a call, batch_req_<batch>_<place>/<attempt>"
        return BadEvidence(line=line, message=message)
    cost = row.get(COST)
    if cost is None or cost == "":
        return BadEvidence(line=line, message=f"{COST} is missing")
    try:
        return Evidence(line=line, call=call, cost_nanos=cost_nanos(cost))
    except ValueError as error:
        return BadEvidence(line=line, message=f"{COST}: {error}")


def cost_nanos(cost: object) -> int:
    """What a call cost, in nano-dollars, rounded once.

    Args:
        cost: US dollars as plain decimal text, or as a number of JSON.

    Raises:
        ValueError: It is no amount from 0 to a million.
    """
    if isinstance(cost, float):
        cost = f"{Decimal(repr(cost)):f}"  # 9.6e-06
    text = str(cost).strip()
    if not _PLAIN.fullmatch(text) or Decimal(text) > _HIGHEST_USD:
        raise ValueError(
            f"{text[:40]!r} is no cost; write US dollars as plain decimals, 0.0096, or 0 for not billed"
        )
    return nanos_from_usd(text)
