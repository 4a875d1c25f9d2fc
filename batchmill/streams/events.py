"""Server-sent events, as providers of OpenAI's wire stream their answers (HTML standard, 9.2)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

CONTENT_TYPE: Final = "text/event-stream"
DONE: Final = b"[DONE]"
LAST: Final = b"data: [DONE]\n\n"
"""What ends a stream of chat completions; one of the Responses API ends with its last event."""

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\r\n|\n\n|\r\r")
_LONGEST_BLANK_LINE: Final = 4
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One event.

    Attributes:
        raw: As it came, with the blank line that ends it.
        data: What it says; b"" for a comment, which says nothing.
    """

    raw: bytes
    data: bytes


class EventReader:
    """Cuts what comes in, however it is cut already, into events. Nothing is altered."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that are whole with this piece."""
        looked_at = max(0, len(self._rest) - _LONGEST_BLANK_LINE)
        self._rest += piece
        start = 0
        while (end := _BLANK_LINE.search(self._rest, max(start, looked_at))) is not None:
            raw = bytes(self._rest[start : end.end()])
            start = end.end()
            yield Event(raw, _data(raw))
        del self._rest[:start]


def event_of(value: Mapping[str, Any], name: str = "") -> bytes:
    """An event that says this.

    Args:
        name: Its type, as the Responses API gives it; "" for none.
    """
    head = f"event: {name}\n".encode() if name else b""
    return b"".join((head, b"data: ", orjson.dumps(value), b"\n\n"))


def _data(raw: bytes) -> bytes:
    if raw.startswith(b"data: ") and raw.count(b"\n") == 2 and raw.endswith(b"\n\n") and b"\r" not in raw:
        return raw[6:-2]  # nearly always
    lines = (line[5:].removeprefix(b" ") for line in _LINE_END.split(raw) if line.startswith(b"data:"))
    return b"\n".join(lines)
