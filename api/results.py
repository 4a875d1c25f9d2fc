"""The results of a batch while they come, and its events."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Depends, Header, Path, Query
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.auth import Producer, Serving
from api.errors import ERRORS
from batchmill.errors import BatchmillError
from workers.serving import batches
from workers.serving.audience import Seat, Sight
from workers.serving.batch_object import batch_object
from workers.serving.keys import is_live
from workers.serving.results import MOST_LINES, check_after, has_ended, result_page, told_results
from workers.serving.service import Service

log = structlog.get_logger()

router = APIRouter(prefix="/v1/batches", tags=["batches"], responses=ERRORS)

HEARTBEAT_S = 15.0
"""So often something is said at least, that proxies do not take the connection for dead."""

_CURSOR = "The `x-next-after` of the page before."
_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Lines as in OpenAI's output and error files",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        "headers": {
            "x-next-after": {"schema": {"type": "string"}, "description": "`after` of the next page"},
            "x-has-more": {
                "schema": {"type": "string", "enum": ["true", "false"]},
                "description": "`false` once the batch has ended and every line of it was given",
            },
        },
    }
}
_EVENT = {
    "type": "object",
    "description": "One of the events; `data` is JSON: a batch, or a line of results",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["progress", "result", "end"]},
        "id": {"type": "string"},
        "data": {"type": "string"},
    },
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `progress`, `result` if asked for, `end`",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}


def own_batch(
    batch_id: Annotated[str, Path(min_length=1, max_length=100)], caller: Producer, service: Serving
) -> Any:
    """The row of a batch of the caller's tenant."""
    return batches.named(service.database, batch_id, caller.tenant)


OwnBatch = Annotated[Any, Depends(own_batch)]


@router.get(
    "/{batch_id}/results",
    summary="Results while they come",
    response_class=StreamingResponse,
    responses=_LINES,
)
def batch_results(
    batch: OwnBatch,
    service: Serving,
    after: Annotated[str, Query(description=_CURSOR)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_LINES, description="Lines, at most.")] = 100,
) -> StreamingResponse:
    """The lines that have ended and were on no page before: each once, some time after it has ended.

    A page may hold fewer lines than the limit, or none, and there may be more all the same: `x-has-more` tells.
    """
    page = result_page(service.database, service.settings, batch, after, most=limit)
    return StreamingResponse(
        page.chunks,
        media_type="application/x-ndjson",
        headers={"x-next-after": page.after, "x-has-more": str(page.has_more).lower()},
    )


@router.get(
    "/{batch_id}/events", summary="Events of a batch", response_class=StreamingResponse, responses=_STREAM
)
async def batch_events(
    batch: OwnBatch,
    service: Serving,
    caller: Producer,
    results: Annotated[bool, Query(description="Tell the lines that end, too.")] = False,
    last_event_id: Annotated[str, Header(description="With results: go on behind that event.")] = "",
) -> StreamingResponse:
    """Server-sent events until the batch has ended: `progress` with the batch whenever it has changed, twice a second
    at most; if asked for `result` with each line; in the end `end` with the batch."""
    if results:
        check_after(batch, last_event_id, "Last-Event-ID")
    shown = await run_in_threadpool(batch_object, service.database, batch)
    seat = service.audience.take_seat(Sight(row=batch, shown=shown))

    def may_go_on() -> bool:
        return not caller.key_id or is_live(service.database, caller.key_id)

    return _Watched(seat, _events(service, seat, last_event_id if results else None, may_go_on))


class _Watched(StreamingResponse):
    """What is seen from a seat, which is left in the end, whoever goes first."""

    def __init__(self, seat: Seat, events: AsyncIterator[bytes]) -> None:
        # The latter is for nginx, which would keep events back otherwise.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then leave."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._seat.leave()


async def _events(
    service: Service, seat: Seat, after: str | None, may_go_on: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The events of a batch.

    Args:
        after: The cursor behind which results are told, "" for all; None = none are.
        may_go_on: Whether he who watches is still one of those who may; asked now and then.
    """
    told: Any = None
    asked_at = time.monotonic()
    try:
        while True:
            if time.monotonic() - asked_at >= HEARTBEAT_S:
                asked_at = time.monotonic()
                if not await run_in_threadpool(may_go_on):
                    return
            sight = seat.sight
            if after is not None:
                told_now = told_results(service.database, service.settings, sight.row, after)
                async for portion in iterate_in_threadpool(told_now):
                    after = portion[-1][0]
                    yield b"".join(_event("result", line, cursor) for cursor, line in portion)
            if has_ended(sight.row):
                yield _event("end", orjson.dumps(sight.shown), after)
                return
            if sight.shown != told:
                yield _event("progress", orjson.dumps(sight.shown), after)
                told = sight.shown
            if not await seat.changed(HEARTBEAT_S):
                if seat.is_over:
                    return
                yield b": nothing new\n\n"
    except BatchmillError as error:  # its head has been sent: all that is left is to end, and be asked again
        log.warning("events_broken_off", code=error.code, error=error.message)


def _event(kind: str, data: bytes, cursor: str | None) -> bytes:
    """An event as it is sent; a cursor that is "" says nothing yet."""
    name = f"id: {cursor}\n" if cursor else ""
    return f"event: {kind}\n{name}data: ".encode() + data.rstrip(b"\n") + b"\n\n"
