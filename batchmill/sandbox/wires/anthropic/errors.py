"""Errors as Anthropic words them: `{"type": "error", "error": {type, message, details}, "request_id"}`.

Types by status: docs.anthropic.com/en/api/errors. A reached spend limit is a 429 without `retry-after`, told by
`details.error_code`.
"""

from collections.abc import Mapping
from typing import Any, Final

from batchmill.sandbox.outcomes import Answer, Complaint, ComplaintError, Headers, as_json

ID_HEADER: Final = "request-id"

_KINDS: Final[Mapping[int, str]] = {
    200: "overloaded_error",
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def refuse(complaint: Complaint, request_id: str) -> Answer:
    """The error; its type is that of its status."""
    usual = "api_error" if complaint.status >= 500 else "invalid_request_error"
    error: dict[str, Any] = {
        "type": complaint.kind or _KINDS.get(complaint.status, usual),
        "message": complaint.message,
    }
    if complaint.details is not None:
        error["details"] = complaint.details
    return Answer(
        status=complaint.status,
        body=as_json({"type": "error", "error": error, "request_id": request_id}),
        headers=complaint.headers,
        id_header=ID_HEADER,
    )


def invalid(where: str, what: str) -> ComplaintError:
    """A 400 about one field."""
    return ComplaintError(Complaint(message=f"{where}: {what}"))


def _error(
    status: int, message: str, details: Mapping[str, Any] | None = None, headers: Headers = ()
) -> Complaint:
    return Complaint(status=status, message=f"{message} (sandbox fault)", details=details, headers=headers)


FAULTS: Final[Mapping[str, Complaint]] = {
    "400": _error(400, "Invalid request."),
    "401": _error(401, "invalid x-api-key"),
    "402": _error(402, "Your credit balance is too low to access the Anthropic API."),
    "403": _error(403, "Your API key does not have permission to use the specified resource."),
    "404": _error(404, "model: no such model"),
    "408": _error(408, "Request timed out"),
    "409": _error(409, "The resource was changed by another request."),
    "422": _error(422, "Unprocessable entity."),
    "429": _error(
        429,
        "This request would exceed your organization's rate limit of 30000 requests per minute.",
        headers=(
            ("retry-after", "1"),
            ("anthropic-ratelimit-requests-limit", "30000"),
            ("anthropic-ratelimit-requests-remaining", "0"),
        ),
    ),
    "500": _error(500, "Internal server error"),
    "502": _error(502, "Bad gateway"),
    "503": _error(503, "Service unavailable", headers=(("retry-after", "1"),)),
    "504": _error(504, "Request timed out"),
    "529": _error(529, "Overloaded"),
    "quota": _error(
        429,
        "You have reached your API usage threshold. You will regain access on the first of next month.",
        {"error_code": "enforced_spend_limit_reached"},
    ),
    "too-large": _error(413, "Request exceeds the maximum size"),
    "200-error": _error(200, "Overloaded"),
}
