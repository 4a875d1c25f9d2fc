"""Makes errors of what the service answers in OpenAI's shape, `{"error": {message, type, param, code}}`."""

from typing import Any

import orjson

from batchmill.client.errors import (
    ApiError,
    AuthenticationError,
    BudgetExceededError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    StateError,
    UnknownIdError,
)
from batchmill.client.steps import Answer

BUDGET_EXCEEDED = "budget_exceeded"
_SHOWN_BYTES = 200
_KINDS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    402: BudgetExceededError,
    403: PermissionDeniedError,
    404: UnknownIdError,
    409: StateError,
    429: RateLimitedError,
}
_HINTS: dict[type[ApiError], str] = {
    AuthenticationError: "give the client a key, api_key=... or BATCHMILL_API_KEY",
    PermissionDeniedError: "use a key that may do this, or one of the tenant whose it is",
    RateLimitedError: "slow down, or give the client more max_retries",
}


def error_of(answer: Answer) -> ApiError:
    """The error that an answer tells of."""
    told = _told(answer)
    code = _text(told.get("code"))
    kind = BudgetExceededError if code == BUDGET_EXCEEDED else _KINDS.get(answer.status)
    if kind is None:
        kind = ServerError if answer.status >= 500 else InvalidRequestError
    message = _text(told.get("message")) or _shown(answer)
    return kind(
        message,
        _text(told.get("hint")) or _HINTS.get(kind, ""),
        answer.status,
        code,
        _text(told.get("param")) or None,
        answer.headers.get("x-request-id", ""),
    )


def unreadable(answer: Answer) -> ServerError:
    """The error of an answer that should be JSON and is not: somebody else listens at the address."""
    return ServerError(
        f"what answered is not batchmill: {_shown(answer)}",
        "check the address, base_url=... or BATCHMILL_BASE_URL",
        answer.status,
        "",
        None,
        answer.headers.get("x-request-id", ""),
    )


def _told(answer: Answer) -> dict[str, Any]:
    try:
        document = answer.document()
    except orjson.JSONDecodeError:
        return {}
    told = document.get("error") if isinstance(document, dict) else None
    return told if isinstance(told, dict) else {}


def _shown(answer: Answer) -> str:
    """What there is of an answer that says nothing in our words."""
    text = " ".join(answer.body[:_SHOWN_BYTES].decode(errors="replace").split())
    return f"HTTP {answer.status}" + (f" {text!a}" if text else " without a word")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
