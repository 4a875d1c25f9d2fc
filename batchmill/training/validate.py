"""Checks a file by the vendors' rules: every bad line is told, with its number and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from batchmill.errors import InputError
from batchmill.training.formats import writer
from batchmill.training.model import Format
from batchmill.training.rules import FileRules

MOST_LINE_BYTES: Final = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """Something wrong.

    Attributes:
        line: Counted from 1; None where it is of the file as a whole.
    """

    line: int | None
    message: str


@dataclass(slots=True)
class Checked:
    """How far the check of a file has come.

    Attributes:
        lines: Examples, good or bad.
        bad: Examples that are bad.
    """

    lines: int = 0
    bad: int = 0


def bad_lines(
    path: Path, format_: Format, checked: Checked, *, is_validation: bool = False
) -> Iterator[BadLine]:
    """Everything wrong with a file, in order, what is of the file as a whole last; flat memory.

    Args:
        checked: Is counted up meanwhile.
        is_validation: It is a file for validation, which may have other limits.

    Raises:
        InputError: It cannot be read.
    """
    form = writer(format_)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            number = 0
            while raw := stream.readline(MOST_LINE_BYTES + 1):
                number += 1
                yield from _line_faults(number, raw, form, checked)
    except OSError as error:
        raise InputError(f'"{path}" cannot be read: {error.strerror}') from error
    for message in file_faults(form.RULES, lines=checked.lines, size=size, is_validation=is_validation):
        yield BadLine(line=None, message=message)


def _line_faults(number: int, raw: bytes, form: Any, checked: Checked) -> Iterator[BadLine]:
    checked.lines += 1
    found = [BadLine(line=number, message=message) for message in _faults(raw, form)]
    checked.bad += bool(found)
    yield from found


def _faults(raw: bytes, form: Any) -> Iterator[str]:
    if len(raw) > MOST_LINE_BYTES:
        yield f"it is longer than {MOST_LINE_BYTES:,} bytes"
        return
    if not raw.strip():
        yield "it is empty"
        return
    try:
        example = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        yield f"it is no JSON: {error.msg} at column {error.colno}"
        return
    yield from form.faults(example)


def file_faults(rules: FileRules, *, lines: int, size: int, is_validation: bool = False) -> Iterator[str]:
    """What is wrong with a file as a whole."""
    if not is_validation and lines < rules.least_lines:
        yield f"it has {_counted(lines)}, at least {rules.least_lines:,} are wanted"
    most = rules.most_validation if is_validation and rules.most_validation else rules.most_lines
    if most is not None and lines > most:
        yield f"it has {_counted(lines)}, at most {most:,} are taken"
    if rules.most_bytes is not None and size > rules.most_bytes:
        yield f"it has {size:,} bytes, at most {rules.most_bytes:,} are taken"


def _counted(lines: int) -> str:
    return "1 example" if lines == 1 else f"{lines:,} examples"
