"""Multipart forms as they stream by: fields kept, files passed on in pieces, nothing of a file in memory."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from python_multipart import MultipartParser
from python_multipart.multipart import parse_options_header

from api.errors import ApiError

MOST_FIELD_BYTES = 64 * 1024
MOST_HEADER_BYTES = 16 * 1024
MOST_PARTS = 100
_ENCODED_NAME = re.compile(rb";\s*filename\*\s*=\s*([A-Za-z0-9-]+)'[A-Za-z0-9-]*'([^\s;\"]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that has come whole."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegins:
    """From here on come pieces of a file."""

    name: str
    filename: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the file that began last."""

    data: bytes


Event = Field | FileBegins | Piece


async def read_form(content_type: str, stream: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """What a form says, in its order.

    Raises:
        ApiError: It is no multipart form, is broken, or ends before its end.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise _bad("The body of this request has to be multipart/form-data with a boundary.")
    reader = _Reader(boundary)
    async for data in stream:
        for event in reader.feed(data):
            yield event
    reader.finish()


class _Reader:
    def __init__(self, boundary: bytes) -> None:
        self._events: list[Event] = []
        self._parts = 0
        self._is_over = False
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
        callbacks = {f"on_{name}": getattr(self, f"_{name}") for name in names}
        callbacks |= {"on_headers_finished": self._headers_finished, "on_end": self._end}
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except ValueError as error:
            raise _bad("The boundary of this form is not one that can be.") from error

    def feed(self, data: bytes) -> Iterator[Event]:
        try:
            self._parser.write(data)
        except ValueError as error:
            raise _bad("The body of this request is no multipart form that can be read.") from error
        events, self._events = self._events, []
        yield from events

    def finish(self) -> None:
        if not self._is_over:
            raise _bad("The body of this request ends before the form does.")

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise _bad(f"A form of more than {MOST_PARTS} parts is not taken.")
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._field: bytearray | None = None
        self._room = MOST_HEADER_BYTES

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += self._header_part(data, start, end)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._header_part(data, start, end)

    def _header_part(self, data: bytes, start: int, end: int) -> bytes:
        self._room -= end - start
        if self._room < 0:
            raise _bad("The headers of a part of this form are too long.")
        return data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._field_name = options.get(b"name", b"").decode(errors="replace")
        filename = _filename(disposition, options.get(b"filename"))
        if filename is None:
            self._field = bytearray()
        else:
            self._events.append(FileBegins(self._field_name, filename))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._events.append(Piece(data[start:end]))
        elif len(self._field) + end - start > MOST_FIELD_BYTES:
            raise _bad(f"The field '{self._field_name[:100]}' is longer than {MOST_FIELD_BYTES:,} bytes.")
        else:
            self._field += data[start:end]

    def _part_end(self) -> None:
        if self._field is not None:
            self._events.append(Field(self._field_name, self._field.decode(errors="replace")))

    def _end(self) -> None:
        self._is_over = True


def _filename(disposition: bytes, plain: bytes | None) -> str | None:
    """The name of a file as browsers write it, or as RFC 5987 has it where that is the only one; None for no file."""
    if plain is not None:
        return plain.decode(errors="replace")
    found = _ENCODED_NAME.search(disposition)
    if found is None:
        return None
    charset, encoded = found[1].decode(), unquote_to_bytes(found[2])
    return encoded.decode("latin-1" if charset.lower() == "iso-8859-1" else "utf-8", errors="replace")


def _bad(message: str) -> ApiError:
    return ApiError(400, "invalid_multipart", message)
