"""Orders to mark answers, as a file gives them: JSON lines or CSV, one answer a line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BufferedReader
from typing import Any, Final

from batchmill.errors import InputError
from batchmill.requests.checks import Fault, name_fault
from batchmill.requests.jsonl import BOM, line_error, read_objects
from batchmill.requests.model import LineError
from batchmill.requests.table import Table
from batchmill.training.marks import Mark, read_rating, read_tags, read_verified

FIELDS: Final = ("custom_id", "batch", "rating", "verified", "tags")
MOST_LINE_BYTES: Final = 1_000_000
_FORM: Final = f"give JSON lines, or CSV with a header; the fields are {', '.join(FIELDS)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One answer that is to be marked.

    Attributes:
        line: Where it stands, from 1; 0 = nowhere: it was given as options.
        batch: Its batch's name, as given.
    """

    line: int
    batch: str
    custom_id: str
    mark: Mark


def read_orders(stream: BufferedReader, *, batch: str, said: Mark) -> Iterator[Order | LineError]:
    """Yield what each line is.

    Args:
        batch: That of lines which name none.
        said: What is said of answers whose line says nothing of it.

    Raises:
        InputError: It is neither, or there is nothing in it.
    """
    is_empty = True
    for number, row in _rows(stream):
        is_empty = False
        if isinstance(row, LineError):
            yield row
            continue
        try:
            yield _order(number, row, batch, said)
        except ValueError as error:
            yield LineError(line=number, code="invalid_mark", message=str(error))
    if is_empty:
        raise InputError("there are no marks in it", _FORM)


def _rows(stream: BufferedReader) -> Iterator[tuple[int, Mapping[str, Any] | LineError]]:
    if stream.peek(64).removeprefix(BOM).lstrip()[:1] in (b"{", b"[", b""):
        for read in read_objects(stream, max_line_bytes=MOST_LINE_BYTES):
            yield (read.line or 0, read) if isinstance(read, LineError) else read
        return
    table = Table(stream, max_line_bytes=MOST_LINE_BYTES)
    if "custom_id" not in table.columns:
        raise InputError(f"the table has no column custom_id; {table.hint()}", _FORM)
    for line, row in table.rows():
        if isinstance(row, Fault):
            yield line, line_error(line, row)
        else:
            yield line, {name: value for name, value in row.items() if value.strip()}


def _order(number: int, row: Mapping[str, Any], batch: str, said: Mark) -> Order:
    for name in row:
        if name not in FIELDS:
            raise ValueError(f'there is no field "{name}"; there are {", ".join(FIELDS)}')
    custom_id, of = row.get("custom_id"), row.get("batch") or batch
    if (fault := name_fault("custom_id", custom_id if custom_id is not None else "")) is not None:
        raise ValueError(fault.message)
    if not isinstance(of, str) or not of:
        raise ValueError("it names no batch; put batch into the line, or give --batch")
    mark = said
    if row.get("rating") is not None:
        mark = replace(mark, rating=read_rating(row["rating"]))
    if row.get("verified") is not None:
        mark = replace(mark, verified=read_verified(row["verified"]))
    if row.get("tags") is not None:
        mark = replace(mark, tags=read_tags(row["tags"]))
    return Order(line=number, batch=of, custom_id=str(custom_id), mark=mark)
