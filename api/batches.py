"""`/v1/batches`: batches as OpenAI's Batch API has them, and what can be done to ours beside."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query

from api.auth import Caller, Producer, Service, Serving
from api.batch_shapes import Batch, BatchList, CreateBatch, Quote
from api.errors import ERRORS, ApiError
from batchmill.errors import ConflictError
from workers import steering
from workers.serving import batches, creation, quoting
from workers.serving.batch_object import batch_object, batch_objects

router = APIRouter(prefix="/v1/batches", tags=["batches"], responses=ERRORS)

MOST_LISTED = 100

BatchId = Annotated[str, Path(min_length=1, max_length=100)]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="A name for this request, should it be sent twice."),
]


@router.post("", summary="Create a batch")
def create_batch(
    wanted: CreateBatch, caller: Producer, service: Serving, idempotency_key: IdempotencyKey = None
) -> Batch:
    """Hand a file of requests in. It is validated next: all of it is accepted, or nothing."""
    row = creation.create(service, wanted.wanted(caller.tenant), idempotency_key)
    return _shown(service, row)


@router.post("/quote", summary="Quote a batch")
def quote_batch(wanted: CreateBatch, caller: Producer, service: Serving) -> Quote:
    """What a file will cost as such a batch, expected and at most, and whether the budgets allow it; nothing is asked.

    The document is that of `batchmill quote --json`.
    """
    return Quote(**quoting.quote(service, wanted.wanted(caller.tenant)))


@router.get("", summary="List batches")
def list_batches(
    caller: Producer,
    service: Serving,
    after: Annotated[
        str | None, Query(max_length=100, description="The last batch of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 20,
) -> BatchList:
    """The batches of the caller's tenant, newest first; those of the command line too."""
    rows, has_more = batches.page(service.database, caller.tenant, most=limit, after=after)
    shown = [Batch(**told) for told in batch_objects(service.database, rows)]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return BatchList(data=shown, first_id=first, last_id=last, has_more=has_more)


@router.get("/{batch_id}", summary="Retrieve a batch")
def retrieve_batch(batch_id: BatchId, caller: Producer, service: Serving) -> Batch:
    """How far a batch has come, and what it has cost."""
    return _shown(service, batches.named(service.database, batch_id, caller.tenant))


@router.post("/{batch_id}/cancel", summary="Cancel a batch")
def cancel_batch(batch_id: BatchId, caller: Producer, service: Serving) -> Batch:
    """End a batch early: no new call is made; what has been answered stays, in its output file."""
    return _steered(service, caller, batch_id, steering.cancel, "cancel")


@router.post("/{batch_id}/pause", summary="Pause a batch")
def pause_batch(batch_id: BatchId, caller: Producer, service: Serving) -> Batch:
    """Let no new call of a batch start until it is resumed. OpenAI's clients see it in progress."""
    return _steered(service, caller, batch_id, steering.pause, "pause")


@router.post("/{batch_id}/resume", summary="Resume a batch")
def resume_batch(batch_id: BatchId, caller: Producer, service: Serving) -> Batch:
    """Let a paused batch go on."""
    return _steered(service, caller, batch_id, steering.resume, "resume")


def _steered(service: Service, caller: Caller, batch_id: str, steer: Callable[..., Any], what: str) -> Batch:
    row = batches.named(service.database, batch_id, caller.tenant)
    if what == "cancel" and batches.is_cancelled(row):
        return _shown(service, row)
    try:
        row = steer(service.database, service.settings, row)
    except ConflictError as error:
        now = _shown(service, batches.named(service.database, batch_id, caller.tenant))
        status = "paused" if now.paused_reason else now.status
        message = f"Cannot {what} a batch with status '{status}'."
        raise ApiError(409, None, message) from error
    if what != "cancel":
        steering.call_workers(service.database, service.settings, row)
    return _shown(service, row)


def _shown(service: Service, row: Any) -> Batch:
    return Batch(**batch_object(service.database, row))
