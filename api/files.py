"""`/v1/files`: files in and out, as OpenAI's Files API has it."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from api.auth import Producer, Serving
from api.errors import ERRORS, ApiError
from api.multipart import Field, FileBegins, Piece, read_form
from api.store_threads import in_thread, passed_on
from batchmill.files.model import TAKEN, Purpose
from workers.serving import files
from workers.serving.uploads import EXPIRES_S, Receiving

router = APIRouter(prefix="/v1/files", tags=["files"], responses=ERRORS)

MOST_LISTED = 10_000
HEARD_OUT_S = 20.0
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")

FileId = Annotated[str, Path(min_length=1, max_length=100)]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="A name for this request, should it be sent twice."),
]


class FileObject(BaseModel):
    """A file."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    """In Unix seconds, as all times."""
    expires_at: int | None = None
    """From then on it is gone."""
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """That a file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "enum": list(TAKEN)},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": EXPIRES_S[0],
                            "maximum": EXPIRES_S[1],
                        },
                        "file": {"type": "string", "format": "binary"},
                    },
                },
                "encoding": {"file": {"contentType": "application/jsonl"}},
            }
        },
    }
}


@router.post("", summary="Upload a file", openapi_extra=_UPLOAD)
async def upload_file(
    request: Request, caller: Producer, service: Serving, idempotency_key: IdempotencyKey = None
) -> FileObject:
    """Take a file in as it streams by; it is there once this has answered, and leaves no trace otherwise."""
    receiving = Receiving(service, caller.tenant, idempotency_key)
    body = request.stream()
    try:
        await _receive(receiving, request.headers.get("content-type", ""), body)
        row = await in_thread(receiving.finish)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await in_thread(receiving.abandon)
        if isinstance(error, ClientDisconnect):
            raise ApiError(400, "client_disconnected", "The client left before the file was whole.") from None
        if isinstance(error, Exception):
            await _hear_out(body)
        raise
    return file_object(row)


async def _hear_out(body: AsyncIterator[bytes]) -> None:
    """Let a client that sends all before it looks at the answer come to its end: closed on, it would never see that."""
    with anyio.move_on_after(HEARD_OUT_S), suppress(ClientDisconnect):
        async for _ in body:
            pass


async def _receive(receiving: Receiving, content_type: str, body: AsyncIterator[bytes]) -> None:
    async for event in read_form(content_type, body):
        match event:
            case Field(name, value):
                receiving.field(name, value)
            case FileBegins(name, filename):
                receiving.begin(name, filename)
            case Piece(data):
                if receiving.piece(data):
                    await in_thread(receiving.flush)


@router.get("", summary="List files")
def list_files(
    caller: Producer,
    service: Serving,
    purpose: Annotated[Purpose | None, Query(description="Those alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
    order: Annotated[Literal["asc", "desc"], Query(description="By when they were uploaded.")] = "desc",
    after: Annotated[
        str | None, Query(max_length=100, description="The last file of the page before.")
    ] = None,
) -> FileList:
    """The files of the caller's tenant, newest first unless told otherwise."""
    rows, has_more = files.page(
        service.database,
        caller.tenant,
        most=limit,
        after=after,
        purpose=purpose,
        is_ascending=order == "asc",
    )
    shown = [file_object(row) for row in rows]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return FileList(data=shown, first_id=first, last_id=last, has_more=has_more)


@router.get("/{file_id}", summary="Retrieve a file")
def retrieve_file(file_id: FileId, caller: Producer, service: Serving) -> FileObject:
    """What is known of a file."""
    return file_object(files.named(service.database, file_id, caller.tenant))


@router.delete("/{file_id}", summary="Delete a file")
async def delete_file(file_id: FileId, caller: Producer, service: Serving) -> FileDeleted:
    """Remove a file. A batch that has been validated does not need it any more."""
    await in_thread(files.delete, service.database, service.store, file_id, caller.tenant)
    return FileDeleted(id=file_id)


@router.get("/{file_id}/content", summary="Download a file", response_class=Response, responses=_CONTENT)
async def file_content(
    file_id: FileId,
    caller: Producer,
    service: Serving,
    range_: Annotated[
        str | None,
        Header(alias="range", max_length=200, description="`bytes=0-99`, `bytes=100-` or `bytes=-100`."),
    ] = None,
) -> Response:
    """What is in a file, as it streams by; with `Range: bytes=…` a part of it."""
    row = await run_in_threadpool(files.named, service.database, file_id, caller.tenant)
    headers = {"accept-ranges": "bytes", "etag": f'"{row.sha256}"'}
    first, length, is_part = _part(range_, row.bytes)
    if is_part:
        headers["content-range"] = f"bytes {first}-{first + length - 1}/{row.bytes}"
    headers["content-length"] = str(length)
    chunks = files.content(service.store, row, first, length)
    beginning = await in_thread(next, chunks, b"")  # what is wrong with the store is told before a status is
    return StreamingResponse(
        passed_on(beginning, chunks),
        206 if is_part else 200,
        headers,
        media_type="application/octet-stream",
    )


def _part(wanted: str | None, size: int) -> tuple[int, int, bool]:
    """Which part of a file is wanted: where it begins, how long it is, and whether it is one (RFC 9110 §14)."""
    match = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match.groups() == ("", ""):
        return 0, size, False  # a range that cannot be read, or of several parts, is as good as none
    first, last = match.groups()
    if not first:
        begin, end = max(0, size - int(last)), size - 1
    else:
        begin, end = int(first), min(int(last), size - 1) if last else size - 1
    if begin >= size or (first and last and int(last) < begin) or (not first and int(last) == 0):
        raise ApiError(
            416,
            "range_not_satisfiable",
            f"The file has {size:,} bytes; that range is not in it.",
            "range",
            headers={"content-range": f"bytes */{size}"},
        )
    return begin, end - begin + 1, True


def file_object(row: Any) -> FileObject:
    """A file's row as clients see it."""
    return FileObject(
        id=row.public_id,
        bytes=row.bytes,
        created_at=row.created_ms // 1000,
        expires_at=None if row.expires_ms is None else row.expires_ms // 1000,
        filename=row.filename,
        purpose=row.purpose,
    )
