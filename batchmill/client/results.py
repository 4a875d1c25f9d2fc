"""Results: one line of OpenAI's output or error file each, read as they stream by."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heapreplace
from typing import Any

import orjson

from batchmill.client.asking import opened, pause_s
from batchmill.client.errors import ServiceUnreachableError
from batchmill.client.steps import Emit, Flow, LostError, Opened, Read, Request, Sleep, Steps

PARTIAL = 206


@dataclass(frozen=True, slots=True)
class RequestFault:
    """Why a request has no answer.

    Attributes:
        code: For programs: `batch_expired`, `model_not_found`, ...
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one request.

    Attributes:
        custom_id: What its producer calls it.
        place: Its number among the requests of its batch, from 1.
        status_code: Of HTTP; None where there was no answer.
        body: The provider's answer, in the shape of OpenAI's API; None without one.
        error: Why it failed; None when it did not.
        provider: Who answered; None where the service did not say.
        model: Which model; None without an answer.
        raw: The whole line.
    """

    custom_id: str
    place: int
    status_code: int | None
    body: Any
    error: RequestFault | None
    provider: str | None
    model: str | None
    raw: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it was answered well."""
        return self.error is None

    @property
    def text(self) -> str | None:
        """What the model said, whichever endpoint was asked; None where that is no text."""
        return text_of(self.body) if self.ok else None


def read_result(line: bytes) -> Result:
    """The result that a line tells."""
    told = orjson.loads(line)
    response = told.get("response") or {}
    status, body = response.get("status_code"), response.get("body")
    note = told.get("batchmill") or {}
    model = note.get("model") or (body.get("model") if isinstance(body, dict) else None)
    return Result(
        custom_id=str(told["custom_id"]),
        place=_place(told.get("id")),
        status_code=status,
        body=body,
        error=_fault(told.get("error"), status, body),
        provider=note.get("provider") or None,
        model=model or None,
        raw=told,
    )


def text_of(body: Any) -> str | None:
    """What an answer says: of a chat, a completion, or the Responses API; None where there is no text in it."""
    if not isinstance(body, dict):
        return None
    for choice in body.get("choices") or ():
        text = (
            choice["message"].get("content")
            if isinstance(choice.get("message"), dict)
            else choice.get("text")
        )
        return text if isinstance(text, str) else None
    said = [
        part.get("text", "")
        for item in body.get("output") or ()
        if isinstance(item, dict) and item.get("type") == "message"
        for part in item.get("content") or ()
        if isinstance(part, dict) and part.get("type") == "output_text"
    ]
    return "".join(said) if said else None


def in_order(files: list[str], max_retries: int) -> Flow[Result]:
    """The results in these files, each of which is in order, together in order; memory holds one of each."""
    readers = [LineReader(f"/v1/files/{file}/content", max_retries) for file in files]
    heads: list[tuple[int, int, Result]] = []
    for number, reader in enumerate(readers):
        line = yield from reader.line()
        if line is not None:
            result = read_result(line)
            heads.append((result.place, number, result))
    heapify(heads)
    while heads:
        _, number, result = heads[0]
        yield Emit(result)
        line = yield from readers[number].line()
        if line is None:
            heappop(heads)
        else:
            following = read_result(line)
            heapreplace(heads, (following.place, number, following))


class LineReader:
    """The lines of a file of the service, read on where a connection broke.

    Honest weakness: where the service drops it again and again without a byte in between, it gives up as any call does.
    """

    def __init__(self, path: str, max_retries: int) -> None:
        # As it is: where to read on is counted in the bytes of the file, not in those that a proxy made of them.
        self._request = Request(method="GET", path=path, headers={"accept-encoding": "identity"})
        self._max_retries = max_retries
        self._opened: Opened | None = None
        self._offset = 0
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self._is_whole = False

    def line(self) -> Steps[bytes | None]:
        """The next one without its end; None behind the last."""
        while not self._lines and not self._is_whole:
            piece = yield from self._piece()
            self._is_whole = not piece
            *whole, self._rest = (self._rest + piece).split(b"\n")
            if self._is_whole:
                whole.append(self._rest)
            self._lines.extend(line for line in whole if line)
        return self._lines.popleft() if self._lines else None

    def _piece(self) -> Steps[bytes]:
        for attempt in range(self._max_retries + 1):
            if self._opened is None:
                self._opened = yield from self._reopened()
            try:
                piece: bytes = yield Read(self._opened)
            except LostError as error:
                self._opened = None
                if attempt == self._max_retries:
                    raise ServiceUnreachableError(
                        f"the results broke off: {error}", "ask for them again: they are kept"
                    ) from error
                yield Sleep(pause_s(attempt))
                continue
            self._offset += len(piece)
            return piece
        raise AssertionError("the last attempt neither returned nor raised")

    def _reopened(self) -> Steps[Opened]:
        request = self._request
        if self._offset:
            request = replace(request, headers={**request.headers, "range": f"bytes={self._offset}-"})
        came = yield from opened(request, self._max_retries)
        if self._offset and came.answer.status != PARTIAL:
            raise ServiceUnreachableError(
                "the results broke off, and the service does not give the rest of them", "ask for them again"
            )
        return came


def _fault(error: Any, status: int | None, body: Any) -> RequestFault | None:
    if isinstance(error, Mapping):
        return RequestFault(str(error.get("code") or ""), str(error.get("message") or ""))
    if status is not None and 200 <= status < 300:
        return None
    told = body.get("error") if isinstance(body, dict) else None
    told = told if isinstance(told, dict) else {}
    return RequestFault(str(told.get("code") or f"http_{status}"), str(told.get("message") or ""))


def _place(request: object) -> int:
    """The last part of `batch_req_..._17`; 0 for what is named otherwise, which then comes as it does in its file."""
    number = str(request).rpartition("_")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
