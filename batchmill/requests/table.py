"""Reads tables as they stream by: CSV as RFC 4180 has it, separated by commas, tabs or semicolons, in flat memory.

The first row names the columns. A value in quotes may hold separators, line breaks and doubled quotes. A UTF-8
byte order mark and CRLF are accepted, blank lines are skipped. The number of a row is that of its first line.

Honest weakness: where a quote is never closed, the rest of the file is one value; that is told at the line
where it was opened, and the rows behind it are not looked at.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from batchmill.errors import InputError, MisuseError
from batchmill.requests.checks import Fault, shown
from batchmill.requests.jsonl import BOM, line_error, too_long, unreadable_fault
from batchmill.requests.model import LineError, RequestLine
from batchmill.requests.rows import Rows
from batchmill.requests.template import PromptTemplate

DEFAULT_PROMPT_COLUMN = "prompt"
SEPARATORS = ",\t;"
_QUOTED = re.compile(r'"[^"]*"')


class Table:
    """A table being read, from its header on.

    Args:
        stream: Buffered, opened in binary mode, at its beginning. Not closed here.
        max_line_bytes: Longest row taken, however many lines it has.

    Raises:
        InputError: There is no header, or it names a column twice.
    """

    def __init__(self, stream: BinaryIO, *, max_line_bytes: int) -> None:
        self._lines = _Lines(stream, max_line_bytes)
        csv.field_size_limit(max(csv.field_size_limit(), max_line_bytes))  # the lines keep to the limit
        first = self._lines.peek()
        self._reader = csv.reader(self._lines, delimiter=_separator(first), strict=True)
        self.columns = _columns(self._records())

    def require(self, names: Sequence[str], option: str) -> None:
        """Refuse a name that is no column, telling the columns there are."""
        for name in names:
            if name not in self.columns:
                raise MisuseError(f"{option}: the input has no column {shown(name)}", self.hint())

    def hint(self) -> str:
        """The columns there are."""
        return f"its columns: {', '.join(name or '(no name)' for name in self.columns)}"

    def read(self, rows: Rows) -> Iterator[RequestLine | LineError]:
        """Yield what each row is: one request, or everything wrong with it."""
        place = 0
        for line, row in self.rows():
            place += 1
            if isinstance(row, Fault):
                yield line_error(line, row)
            else:
                yield from rows.read(line, row, place=place)
        if not place:
            raise InputError("the table has a header and no rows", "put one request in each row")

    def rows(self) -> Iterator[tuple[int, dict[str, str] | Fault]]:
        """Yield the number of each row, and its values by column or what is wrong with it."""
        for line, cells in self._records():
            if isinstance(cells, Fault):
                yield line, cells
            elif len(cells) != len(self.columns):
                yield line, _uneven(len(cells), len(self.columns))
            else:
                yield line, dict(zip(self.columns, cells, strict=True))

    def _records(self) -> Iterator[tuple[int, list[str] | Fault]]:
        """Every record that is not blank, with the number of its first line."""
        while True:
            line = self._lines.begin_record()
            try:
                cells: list[str] | Fault = next(self._reader)
            except StopIteration:
                return
            except _TooLongError as error:
                yield line, error.args[0]
                return
            except csv.Error as error:
                cells = _malformed(str(error))
            if cells:
                yield line, self._lines.fault or cells


class _TooLongError(Exception):
    """Stops the reading of a row that is longer than the limit; `args[0]` is the fault."""


class _Lines:
    """The physical lines of the file, as text.

    Attributes:
        fault: What is wrong with the text of the record that is being read.
    """

    def __init__(self, stream: BinaryIO, max_line_bytes: int) -> None:
        self.fault: Fault | None = None
        self._stream = stream
        self._max_bytes = max_line_bytes
        self._number = 0
        self._record_bytes = 0
        self._ahead = b""

    def peek(self) -> str:
        """The first line that is not blank."""
        line = self._read().removeprefix(BOM)
        if fault := unreadable_fault(line):
            raise InputError(f"the table cannot be read: {fault.message}")
        while line and line.isspace():
            self._number += 1
            line = self._read()
        self._ahead = line
        return line.decode(errors="replace")

    def begin_record(self) -> int:
        """Begin to count and to find fault anew; the number of the line that comes next."""
        self.fault, self._record_bytes = None, 0
        return self._number + 1

    def _read(self) -> bytes:
        return self._stream.readline(self._max_bytes + len(b"\r\n"))  # longer than the limit, if it is

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self._ahead = self._ahead, b""
        line = line or self._read()
        if not line:
            raise StopIteration
        self._number += 1
        self._record_bytes += len(line)
        size = self._record_bytes - (len(line) - len(line.rstrip(b"\r\n")))
        if size > self._max_bytes:
            raise _TooLongError(_beyond(size, self._max_bytes))
        try:
            return line.decode()
        except UnicodeDecodeError as bad:
            # The record is read on, so that the next one begins where it does.
            self.fault = _not_utf8(line, bad)
            return line.decode(errors="replace")


def _separator(header: str) -> str:
    """The one that the header has most of, those in quotes not counted; a comma when it has none."""
    bare = _QUOTED.sub("", header)
    return max(SEPARATORS, key=bare.count)


def _columns(records: Iterator[tuple[int, list[str] | Fault]]) -> list[str]:
    _, cells = next(records, (1, []))
    if isinstance(cells, Fault):
        raise InputError(f"the header cannot be read: {cells.message}", "save the table as CSV in UTF-8")
    columns = [cell.strip() for cell in cells]
    if not any(columns):
        raise InputError("the table has no header", "name the columns in the first row")
    for name in columns:
        if name and columns.count(name) > 1:
            raise InputError(
                f"the header names the column {shown(name)} twice", "give each column its own name"
            )
    return columns


def _uneven(cells: int, columns: int) -> Fault:
    message = f"The row has {_counted(cells)}, the header {columns}. Is there a separator or quote unquoted?"
    return Fault("invalid_csv_row", message)


def _counted(cells: int) -> str:
    return "1 value" if cells == 1 else f"{cells} values"


def _malformed(reason: str) -> Fault:
    if "unexpected end of data" in reason:
        reason = (
            "a quote that is opened here is never closed, so the rest of the file was taken for one value"
        )
    elif "new-line character" in reason:
        reason = "a carriage return stands alone outside quotes"
    return Fault("invalid_csv_row", f"This row is not valid CSV: {reason}.")


def _beyond(size: int, max_bytes: int) -> Fault:
    advice = "Is a quote not closed? What follows was not read."
    return Fault("invalid_request", f"{too_long(size, max_bytes).message} {advice}")


def _not_utf8(line: bytes, bad: UnicodeDecodeError) -> Fault:
    where = f"byte 0x{line[bad.start]:02x}"
    return Fault("invalid_csv_row", f"This row is not UTF-8 ({where}). Save the table as UTF-8.")


def template_for(table: Table, *, prompt: str, prompt_column: str) -> PromptTemplate:
    """The template that is asked for, its columns there; without one, the column `prompt`."""
    if prompt:
        template = PromptTemplate(prompt)
        table.require(template.names, "--prompt")
        return template
    if not prompt_column and DEFAULT_PROMPT_COLUMN not in table.columns:
        raise MisuseError(
            "nothing says which column to ask about",
            f'name it with --prompt-column, or --prompt "Summarise {{text}}"; {table.hint()}',
        )
    table.require([prompt_column or DEFAULT_PROMPT_COLUMN], "--prompt-column")
    return PromptTemplate.of_column(prompt_column or DEFAULT_PROMPT_COLUMN)
