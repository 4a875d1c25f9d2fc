"""Errors as Gemini words them: `{"error": {code, message, status, details}}`, statuses as in google.rpc.Code."""

from collections.abc import Mapping
from typing import Any, Final

from batchmill.sandbox.outcomes import Answer, Complaint, ComplaintError, as_json

ID_HEADER: Final = "x-batchmill-sandbox-request-id"
"""Gemini's answers carry no id in their head; this one is the sandbox's own."""

_TYPES: Final = "type.googleapis.com/google.rpc."
_SERVICE: Final = "generativelanguage.googleapis.com"
_STATUSES: Final[Mapping[int, str]] = {
    200: "UNAVAILABLE",
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}


def refuse(complaint: Complaint) -> Answer:
    """The error; its status is that of its HTTP status."""
    usual = "UNAVAILABLE" if complaint.status >= 500 else "INVALID_ARGUMENT"
    error: dict[str, Any] = {
        "code": 503 if complaint.status < 300 else complaint.status,
        "message": complaint.message,
        "status": complaint.kind or _STATUSES.get(complaint.status, usual),
    }
    if complaint.details is not None:
        error["details"] = complaint.details
    return Answer(
        status=complaint.status,
        body=as_json({"error": error}),
        headers=complaint.headers,
        id_header=ID_HEADER,
    )


def invalid(message: str) -> ComplaintError:
    """A 400 without details."""
    return ComplaintError(Complaint(message=message))


def unreadable(where: str, what: str) -> ComplaintError:
    """A 400 about JSON that does not fit the message it is read into; it names the field."""
    violation = {"field": where, "description": what} if where else {"description": what}
    details = {"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]}
    return ComplaintError(Complaint(message=what, details=(details,)))


def quota_failure(metric: str, quota_id: str, model: str, value: int) -> Mapping[str, Any]:
    """The detail that says which quota it is."""
    violation = {
        "quotaMetric": f"{_SERVICE}/{metric}",
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": str(value),
    }
    return {"@type": f"{_TYPES}QuotaFailure", "violations": [violation]}


def retry_info(wait_ms: int) -> Mapping[str, Any]:
    """The detail that says how long to wait."""
    seconds = f"{wait_ms / 1000:.3f}".rstrip("0").rstrip(".")
    return {"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{seconds}s"}


def _error(status: int, message: str, *details: Mapping[str, Any]) -> Complaint:
    return Complaint(status=status, message=f"{message} (sandbox fault)", details=details or None)


_EXHAUSTED: Final = "You exceeded your current quota, please check your plan and billing details."
_DEPLETED: Final = "Your prepayment credits are depleted."
_REQUESTS: Final = "generate_content_paid_tier_requests"

FAULTS: Final[Mapping[str, Complaint]] = {
    "400": _error(400, "Request contains an invalid argument."),
    "401": _error(
        401,
        "Request had invalid authentication credentials.",
        {
            "@type": f"{_TYPES}ErrorInfo",
            "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            "domain": "googleapis.com",
        },
    ),
    "402": _error(402, _DEPLETED),
    "403": _error(403, "The caller does not have permission"),
    "404": _error(
        404, "models/none is not found for API version v1beta, or is not supported for generateContent."
    ),
    "408": _error(408, "Request timed out."),
    "409": _error(409, "The operation was aborted."),
    "422": _error(422, "Unprocessable entity."),
    "429": _error(
        429,
        f"{_EXHAUSTED} Please retry in 200ms.",
        quota_failure(_REQUESTS, "GenerateRequestsPerMinutePerProjectPerModel", "sandbox/429", 500),
        retry_info(200),
    ),
    "500": _error(500, "An internal error has occurred. Please retry."),
    "502": _error(502, "Bad gateway."),
    "503": _error(503, "The model is overloaded. Please try again later."),
    "504": _error(504, "The request timed out. Please try again."),
    "529": _error(529, "The model is overloaded. Please try again later."),
    "quota": _error(429, _DEPLETED),
    "too-large": _error(
        400, "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
    ),
    "200-error": _error(200, "The model is overloaded. Please try again later."),
}
