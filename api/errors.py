"""Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`, whatever went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from batchmill.errors import BatchmillError, ParameterError
from batchmill.requests.checks import json_type, shown

log = structlog.get_logger()

TYPES = {403: "permission_error", 429: "rate_limit_error"}
NEVER_AGAIN = {"x-should-retry": "false"}
"""OpenAI's clients try a 409 again unless they are told that this is no use."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """Every answer that is none."""

    error: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorBody, "description": "What went wrong, and what to do about it"}
}


class ApiError(Exception):
    """An error that has to be told in OpenAI's own words.

    Args:
        kind: The error's type; "" for the status's own.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = headers or {}
        self.kind = kind


def error_response(
    status: int,
    code: str | None,
    message: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    kind: str = "",
) -> Response:
    """An error as it is answered."""
    kind = kind or TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    told = {"message": message, "type": kind, "param": param, "code": code}
    never_again = NEVER_AGAIN if status == 409 else {}
    return JSONResponse({"error": told}, status, headers={**never_again, **(headers or {})})


def answer_errors(app: FastAPI) -> None:
    """Have the app answer whatever is raised in it."""
    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(BatchmillError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_routing)


def response_to(error: ApiError | BatchmillError, path: str) -> Response:
    """What that error is answered with."""
    if isinstance(error, ApiError):
        return error_response(error.status, error.code, error.message, error.param, error.headers, error.kind)
    if isinstance(error, ParameterError):
        return error_response(400, error.told_code or None, error.message, error.param or None)
    if error.http_status >= 500:
        log.warning("request_failed", path=path, code=error.code, error=error.message)
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    headers = {"retry-after": "1"} if error.may_succeed_later else {}
    return error_response(error.http_status, error.code, message, headers=headers)


def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, (ApiError, BatchmillError))
    return response_to(error, request.url.path)


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    code, message, param = _fault(error.errors()[0])
    return error_response(400, code, message, param)


def _of_routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"({request.method} {request.url.path})"
    message = {404: f"Invalid URL {where}", 405: f"Not allowed to {request.method} on {request.url.path}"}
    headers = {"allow": _methods_of(request)} if error.status_code == 405 else error.headers
    return error_response(
        error.status_code, None, message.get(error.status_code, str(error.detail)), headers=headers
    )


def _methods_of(request: Request) -> str:
    """What else may be done at a path: of all its routes, where the router tells the first one's alone."""
    routes = [*iter_route_contexts(request.app.routes)]
    path = next(route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(
        sorted({method for route in routes if route.path == path for method in route.methods or ()})
    )


def _fault(error: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """What pydantic found first, in OpenAI's words: code, message, param."""
    kind, value = error["type"], error.get("input")
    param = _param(error["loc"])
    if kind == "json_invalid":
        return "invalid_json", "We could not parse the JSON body of your request.", None
    if kind == "missing" and not param:
        return (
            "invalid_request_error",
            "The body of this request is missing: it has to be a JSON object.",
            None,
        )
    if kind == "missing":
        return "missing_required_parameter", f"Missing required parameter: '{param}'.", param
    if kind == "extra_forbidden":
        return "unknown_parameter", f"Unknown parameter: '{param}'.", param
    if kind in ("enum", "literal_error"):
        expected = str(error["ctx"]["expected"]).replace(" or ", ", ")
        return "invalid_value", f"Invalid value: {_shown(value)}. Supported values are: {expected}.", param
    if kind.endswith(("_type", "_parsing")):
        expected = error["msg"].removeprefix("Input should be ").partition(",")[0]
        return (
            "invalid_type",
            f"Invalid type for '{param}': expected {expected}, but got {_type(value)} instead.",
            param,
        )
    reason = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return "invalid_value", f"Invalid value for '{param}': {reason}.".replace("..", "."), param


def _param(where: Sequence[Any]) -> str | None:
    """A field's name as OpenAI tells it, `metadata.tags`: without whether it is of body, path or query."""
    names = [str(part) for part in where[1:] if part not in ("[key]",)]
    return ".".join(names) or None


def _shown(value: object) -> str:
    return shown(value) if isinstance(value, str) else repr(value)[:100]


def _type(value: object) -> str:
    try:
        return json_type(value)
    except KeyError:
        return type(value).__name__
