"""Single requests, answered at once, as OpenAI's API has them; and the models that may be asked."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

from api.auth import Producer, Serving
from api.direct_answers import as_it_comes, from_whole, whole
from api.direct_shapes import Model, ModelList, Wishes, answers, described
from api.errors import ERRORS, ApiError
from batchmill.errors import NotFoundError
from batchmill.requests.model import Endpoint
from batchmill.streams.relay import Relay
from workers.serving import models
from workers.serving.desk import Desk
from workers.serving.questions import WISHES, read_question

T = TypeVar("T")

router = APIRouter(prefix="/v1", tags=["requests"], responses=ERRORS)

CLIENT_GONE = 499
"""Nobody reads it; that is what others log there."""


async def desk_of(request: Request) -> Desk:
    """Who answers here."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(desk_of)]


def _answers(endpoint: Endpoint, summary: str) -> None:
    """A route for one endpoint."""

    async def answer(request: Request, caller: Producer, desk: AtDesk) -> Response:
        question = _read(desk, endpoint, await request.body())
        options = _wishes(question.wishes).options(caller.tenant)
        if not question.is_streamed:
            visit = desk.begin(question.line, options)
            answered = await _unless_gone(request, visit.answered())
            return Response(status_code=CLIENT_GONE) if answered is None else whole(answered)
        relay = Relay(question.stream_options)
        visit = desk.begin(question.line, options, relay)
        has_begun = await _unless_gone(request, visit.begun())
        if has_begun is None:
            return Response(status_code=CLIENT_GONE)
        if has_begun:
            return as_it_comes(visit, endpoint)
        return from_whole(await visit.answered(), endpoint, with_usage=relay.wants_usage)

    name = endpoint.removeprefix("/v1/").replace("/", "_")
    router.add_api_route(
        endpoint.removeprefix("/v1"),
        answer,
        methods=["POST"],
        name=f"answer_{name}",
        operation_id=f"answer_{name}",
        summary=summary,
        description="Answered from the cache, or by the model asked for; the headers `x-batchmill-…` tell which.",
        response_class=Response,
        responses=answers(endpoint),
        openapi_extra=described(endpoint),
    )


_answers(Endpoint.CHAT, "Answer a chat")
_answers(Endpoint.RESPONSES, "Answer by the Responses API")
_answers(Endpoint.EMBEDDINGS, "Embed texts")
_answers(Endpoint.COMPLETIONS, "Complete a text")
_answers(Endpoint.MODERATIONS, "Moderate texts")


@router.get("/models", summary="List models")
def list_models(caller: Producer, service: Serving) -> ModelList:
    """The models of the catalogue, and those shipped, of providers that can be called here."""
    told = models.models(service.database, service.settings)
    return ModelList(data=[Model(id=one.id, owned_by=one.owner) for one in told])


@router.get("/models/{model:path}", summary="Retrieve a model")
def retrieve_model(
    model: Annotated[str, Path(min_length=1, max_length=512)], caller: Producer, service: Serving
) -> Model:
    """One of them."""
    try:
        one = models.model(service.database, service.settings, model)
    except NotFoundError as error:
        raise ApiError(404, "model_not_found", f"{error.message}.", "model") from error
    return Model(id=one.id, owned_by=one.owner)


def _read(desk: Desk, endpoint: Endpoint, body: bytes) -> Any:
    try:
        return read_question(endpoint, body, desk.addressing)
    except NotFoundError as error:
        message = f"{error.message}; {error.hint}" if error.hint else error.message
        raise ApiError(404, "model_not_found", message, "model") from error


def _wishes(said: Any) -> Wishes:
    if said is None:
        return _NO_WISHES
    try:
        return Wishes.model_validate(said)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", WISHES, *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error


_NO_WISHES = Wishes()


async def _unless_gone(request: Request, wanted: Awaitable[T]) -> T | None:
    """Wait for it, and leave off when the client has gone; then None."""
    waiting, gone = asyncio.ensure_future(wanted), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        return await waiting if waiting.done() else None
    finally:
        for task in (waiting, gone):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
