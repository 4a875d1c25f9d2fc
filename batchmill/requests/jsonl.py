"""Reads JSON Lines as they stream by: for every line its object or what is wrong with it, in flat memory.

Accepted: a UTF-8 byte order mark, CRLF, blank lines (they count in the numbering), no newline at the end.

What a line says is never altered in silence. An integer beyond 64 bits would come back from orjson as a
rounded float, so it is an error. Other numbers keep their value as a double, not their spelling (`1e2` goes
on as `100.0`). Where an object repeats a key the last one counts, as in every common JSON parser (RFC 8259 §4
leaves it open); this is the one thing a line can say that is not passed on.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from batchmill.requests.checks import Fault, json_type
from batchmill.requests.model import LineError

MB = 1_000_000
DEFAULT_MAX_LINE_BYTES = 16 * MB
MAX_LINE_VARIABLE = "BATCHMILL_MAX_LINE_MB"
SKIP_CHUNK_BYTES = 1 << 20

MAX_DEPTH = 200
"""orjson reads 1,024 levels but writes 254 only; what is left is room to wrap a body in."""

BOM = b"\xef\xbb\xbf"
_SKELETON = bytes.maketrans(b"123456789{", b"000000000[")
"""Makes every digit a zero and every opening brace a bracket."""
_SUSPECT_DIGITS = b"0" * 19
"""The shortest run of digits that may be an integer beyond 64 bits."""


def read_objects(
    stream: BinaryIO, *, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES
) -> Iterator[tuple[int, dict[str, Any]] | LineError]:
    """Yield the number and the object of every line, or its error; nothing for a blank one.

    A file that is no JSONL at all (UTF-16, gzip, a workbook, one JSON array) yields a single error with `line=None`.
    At most one line of `max_line_bytes` is held; a longer one is skipped in chunks and reported.

    Args:
        stream: Buffered, opened in binary mode. Not closed here.
        max_line_bytes: Longest line taken, its line end not counted.
    """
    is_first = True
    for number, size, line in _split(stream, max_line_bytes):
        if is_first and (fault := unreadable_fault(line) or _array_fault(line)):
            yield line_error(None, fault)
            return
        is_first = False
        if size > max_line_bytes:
            yield line_error(number, too_long(size, max_line_bytes))
            continue
        parsed = parse_object(line)
        yield line_error(number, parsed) if isinstance(parsed, Fault) else (number, parsed)


def line_error(number: int | None, fault: Fault) -> LineError:
    """A fault, at its line."""
    return LineError(line=number, code=fault.code, message=fault.message, param=fault.param)


def _split(stream: BinaryIO, max_line_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, size in bytes and text of every line that is not blank; one too long comes cut."""
    number = 0
    with_line_end = max_line_bytes + len(b"\r\n")
    while raw := stream.readline(with_line_end):
        number += 1
        size = len(raw)
        if size == with_line_end and not raw.endswith(b"\n"):
            size += _skip_line(stream)
        line = raw.removeprefix(BOM) if number == 1 else raw
        if size >= max_line_bytes:
            size -= len(raw) - len(raw.rstrip(b"\r\n"))
        if size > max_line_bytes or (line and not line.isspace()):
            yield number, size, line


def _skip_line(stream: BinaryIO) -> int:
    """Read on to the end of the line and return how many bytes that was, the line end not counted."""
    skipped = 0
    while chunk := stream.readline(SKIP_CHUNK_BYTES):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            return skipped - len(b"\n")
    return skipped


def parse_object(line: bytes) -> dict[str, Any] | Fault:
    """The object that some JSON is, or what is wrong with it."""
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _json_fault(line, error)
    if type(parsed) is not dict:
        return _not_json(f"A request is a JSON object; this line is {json_type(parsed)}.")
    # Both faults are looked for only where a scan of the bytes, strings included, says they may be there.
    skeleton = line.translate(_SKELETON)
    if skeleton.count(b"[") > MAX_DEPTH and is_too_deep(parsed):
        return _too_deep()
    if _SUSPECT_DIGITS in skeleton:
        return _big_integer_fault(line) or parsed
    return parsed


def _json_fault(line: bytes, error: orjson.JSONDecodeError) -> Fault:
    try:
        line.decode()
    except UnicodeDecodeError as bad:
        where = f"byte 0x{line[bad.start]:02x} at byte offset {bad.start} of the line"
        return _not_json(f"It is not UTF-8: {where}.")
    if "depth limit" in error.msg:
        return _too_deep()
    hint = " Is one request spread over several lines?" if line.strip() in (b"{", b"}", b"},") else ""
    return _not_json(f"At column {error.colno}: {error.msg}.{hint}")


def _not_json(detail: str) -> Fault:
    return Fault("invalid_json_line", f"This line is not parseable as valid JSON. {detail}")


def _too_deep() -> Fault:
    return _not_json(f"It is nested deeper than {MAX_DEPTH} levels.")


def too_long(size: int, max_line_bytes: int) -> Fault:
    """A line beyond the limit."""
    message = (
        f"This line is {size / MB:,.1f} MB ({size:,} bytes); "
        f"the limit is {max_line_bytes / MB:,g} MB. Raise it with {MAX_LINE_VARIABLE}."
    )
    return Fault("invalid_request", message)


def is_too_deep(parsed: dict[str, Any]) -> bool:
    """Whether an object is nested deeper than `MAX_DEPTH` levels."""
    level: list[Any] = [parsed]
    for _ in range(MAX_DEPTH):
        inner = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


class _BigIntegerError(ValueError):
    """Stops the parse at an integer that 64 bits do not hold; `args[0]` is its digits."""


def _big_integer_fault(line: bytes) -> Fault | None:
    try:
        json.loads(line, parse_int=_refuse_big_integer)
    except _BigIntegerError as error:
        digits: str = error.args[0]
        shown = digits if len(digits) <= 40 else f"{digits[:40]}… ({len(digits):,} digits)"
        message = f"The integer {shown} does not fit in 64 bits and would be rounded. Send it as a string."
        return Fault("invalid_value", message)
    return None


def _refuse_big_integer(digits: str) -> int:
    # Twenty characters hold every 64-bit integer; converting longer ones is quadratic.
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**64:
        raise _BigIntegerError(digits)
    return value


def unreadable_fault(first_line: bytes) -> Fault | None:
    """What the first line shows of a file that is no UTF-8 text at all."""
    if first_line.startswith(b"\x1f\x8b"):
        return Fault("invalid_json_line", "The file is compressed with gzip. Unpack it first with `gunzip`.")
    if first_line.startswith(b"PK\x03\x04"):
        return Fault(
            "invalid_json_line",
            "The file is an Excel workbook or a zip archive. Save it as CSV, or unpack it.",
        )
    if first_line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first_line[:4]:
        advice = "Save it as UTF-8, for instance with `iconv -f UTF-16 -t UTF-8`."
        return Fault("invalid_json_line", f"The file looks like UTF-16 or UTF-32, not UTF-8. {advice}")
    return None


def _array_fault(first_line: bytes) -> Fault | None:
    if first_line.lstrip().startswith(b"["):
        advice = "Put one request on each line, for instance with `jq -c '.[]'`."
        return Fault("invalid_json_line", f"The file is a JSON array, not JSON Lines. {advice}")
    return None
