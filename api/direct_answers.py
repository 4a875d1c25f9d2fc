"""How the desk's answers are told over HTTP: the provider's own, or why there is none."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import orjson
from starlette.responses import Response, StreamingResponse

from api.errors import error_response
from batchmill.errors import BatchmillError
from batchmill.money.nanos import usd_text
from batchmill.requests.model import Endpoint, RequestState
from batchmill.streams.events import CONTENT_TYPE, LAST, event_of
from batchmill.streams.pieces import pieces_of
from db.direct import Standing
from workers.serving.visit import Answered, Visit

UNKNOWN_COST: Final = "unknown"
LONGEST_HEADER: Final = 500
NO_RETRY: Final = {"x-should-retry": "false"}
"""OpenAI's clients are not to send the same again: it would end the same."""
_OF_OUR_ACCOUNT: Final = (401, 402, 403, 407)
"""What a provider says so is not about our caller's key, but about ours."""
_SPENT: Final = ("insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached")
_OURS: Final[Mapping[str, int]] = {
    "price_unknown": 400,
    "request_too_large": 413,
    "no_model_fits": 400,
    "unsupported_parameter": 400,
    "request_timeout": 504,
    "connect_timeout": 504,
    "request_cancelled": 409,
}
"""The status of what is no provider's answer; any other is a 502."""


def whole(answered: Answered) -> Response:
    """The answer, or why there is none."""
    standing, headers = answered.standing, _headers(answered)
    if standing.state is RequestState.DONE:
        return Response(standing.body, 200, headers, media_type="application/json")
    return _refusal(standing, headers)


def from_whole(answered: Answered, endpoint: Endpoint, *, with_usage: bool) -> Response:
    """The same for who wants it in pieces, made of an answer that came whole."""
    if answered.standing.state is not RequestState.DONE or answered.standing.body is None:
        return whole(answered)
    answer = orjson.loads(answered.standing.body)
    events = b"".join(pieces_of(endpoint, answer, with_usage=with_usage))
    return Response(events, 200, _headers(answered), media_type=CONTENT_TYPE)


def as_it_comes(visit: Visit, endpoint: Endpoint) -> Response:
    """The pieces as the provider sends them. What it has cost is not known before the end, so no header tells it."""
    headers = _named(visit.name, visit.selection) | {
        "x-batchmill-cached": "false",
        "cache-control": "no-cache",
    }
    if visit.target is not None:
        headers |= {"x-batchmill-provider": visit.target.provider, "x-batchmill-model": visit.target.model}
    return StreamingResponse(_events(visit, endpoint), 200, _sendable(headers), media_type=CONTENT_TYPE)


async def _events(visit: Visit, endpoint: Endpoint) -> AsyncIterator[bytes]:
    assert visit.relay is not None
    try:
        async for event in visit.relay.events():
            yield event
        try:
            standing = (await visit.answered()).standing
        except BatchmillError as error:
            yield _broken(error.code, error.message)
            return
        if standing.state is not RequestState.DONE:
            yield _broken(standing.error_code, standing.error_message)
        elif endpoint is not Endpoint.RESPONSES:
            yield LAST
    finally:
        visit.leave()


def _broken(code: str, message: str) -> bytes:
    """What ends a stream that has no other end: OpenAI's clients raise it."""
    error = {"message": message, "type": "server_error", "param": None, "code": code or None}
    return event_of({"error": error})


def _refusal(standing: Standing, headers: Mapping[str, str]) -> Response:
    status, code, message = standing.status_code, standing.error_code, standing.error_message
    if standing.state is RequestState.EXPIRED:
        return error_response(504, "request_timeout", message or "No answer came in time.", headers=headers)
    if code == "budget_exceeded":
        headers = {**headers, **NO_RETRY}
        return error_response(429, code, message, headers=headers, kind="insufficient_quota")
    if status in _OF_OUR_ACCOUNT or code in _SPENT:
        told = f"{standing.provider} turns the account of this service away: {message}"
        return error_response(502, code, told, headers={**headers, **NO_RETRY})
    if status is not None and 400 <= status < 500 and status != 408:
        return _passed_on(standing, status, headers)
    told = message or f"The request was {standing.state}."
    return error_response(_OURS.get(code, 502), code or f"request_{standing.state}", told, headers=headers)


def _passed_on(standing: Standing, status: int, headers: Mapping[str, str]) -> Response:
    """A provider's own refusal of the request, in its own words."""
    if standing.body is not None:
        return Response(standing.body, status, dict(headers), media_type="application/json")
    return error_response(status, standing.error_code, standing.error_message, headers=headers)


def _headers(answered: Answered) -> dict[str, str]:
    standing = answered.standing
    cost = UNKNOWN_COST if standing.cost_nanos is None else usd_text(standing.cost_nanos)
    headers = _named(answered.request, answered.selection) | {
        "x-batchmill-cached": "true" if standing.is_cached else "false",
        "x-batchmill-cost-usd": cost,
    }
    if standing.provider:
        headers |= {"x-batchmill-provider": standing.provider, "x-batchmill-model": standing.model}
    return _sendable(headers)


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that HTTP can carry: a model may have any name."""
    return {
        name: value
        for name, value in headers.items()
        if value.isascii() and value.isprintable() and len(value) <= LONGEST_HEADER
    }


def _named(request: str, selection: str) -> dict[str, str]:
    return {"x-batchmill-request": request, "x-batchmill-selection": selection}
