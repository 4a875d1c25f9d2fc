"""A file of lines as the body of an upload, made while it is sent: multipart form data, whose size nobody knows yet."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Protocol
from uuid import uuid4

CHUNK_BYTES = 1 << 18
_LINE = "\r\n"


class Source(Protocol):
    """Where the bytes of a file come from.

    Attributes:
        may_repeat: Whether they can be had again from the beginning.
    """

    @property
    def may_repeat(self) -> bool: ...

    def pieces(self) -> Iterable[bytes] | AsyncIterable[bytes]: ...


class Upload:
    """The body of `POST /v1/files`: its fields first, then the file.

    Args:
        fields: The others of the form.
        filename: What the file is called there.

    Attributes:
        content_type: The header that goes with it.
    """

    def __init__(self, source: Source, *, fields: dict[str, str], filename: str) -> None:
        self._source = source
        self._begun = False
        boundary = f"batchmill-{uuid4().hex}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        parts = [
            f'--{boundary}{_LINE}Content-Disposition: form-data; name="{name}"{_LINE}{_LINE}{value}{_LINE}'
            for name, value in fields.items()
        ]
        parts.append(
            f'--{boundary}{_LINE}Content-Disposition: form-data; name="file"; filename="{filename}"{_LINE}'
            f"Content-Type: application/jsonl{_LINE}{_LINE}"
        )
        self._head = "".join(parts).encode()
        self._tail = f"{_LINE}--{boundary}--{_LINE}".encode()

    @property
    def may_repeat(self) -> bool:
        """Whether it can be sent once more: nothing has been read of it, or it can be read again."""
        return self._source.may_repeat or not self._begun

    def __iter__(self) -> Iterator[bytes]:
        """Its bytes, in chunks.

        Raises:
            TypeError: They come from an asynchronous iterator.
        """
        pieces = self._source.pieces()
        if not isinstance(pieces, Iterable):
            raise TypeError("an asynchronous iterator of requests is for AsyncClient")
        return self._chunked(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The same; an ordinary iterator is read where it stands, so it should not wait for much."""
        pieces = self._source.pieces()
        if isinstance(pieces, Iterable):
            return _handed_on(self._chunked(pieces))
        return self._chunked_async(pieces)

    def _chunked(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        self._begun = True
        chunk = bytearray(self._head)
        for piece in pieces:
            chunk += piece
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
        yield bytes(chunk + self._tail)

    async def _chunked_async(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        self._begun = True
        chunk = bytearray(self._head)
        async for piece in pieces:
            chunk += piece
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
        yield bytes(chunk + self._tail)


async def _handed_on(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
