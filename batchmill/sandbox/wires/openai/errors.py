"""Errors as OpenAI words them: `{"error": {message, type, param, code}}`, and the one for each fault."""

from collections.abc import Mapping
from typing import Final

from batchmill.sandbox.outcomes import Answer, Complaint, as_json

LIMITED: Final = "rate_limit_exceeded"


def refuse(complaint: Complaint) -> Answer:
    """The error; its usual type is the request's fault, or the server's from 500 on. In a 200 it is OpenRouter's."""
    if complaint.status < 300:
        inner = {"code": 502, "message": complaint.message}
        return Answer(status=complaint.status, body=as_json({"error": inner}))
    kind = complaint.kind or ("server_error" if complaint.status >= 500 else "invalid_request_error")
    error = {"message": complaint.message, "type": kind, "param": complaint.param, "code": complaint.code}
    return Answer(status=complaint.status, body=as_json({"error": error}), headers=complaint.headers)


def _error(status: int, message: str, kind: str = "", code: str | None = None, **headers: str) -> Complaint:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Complaint(status=status, message=f"{message} (sandbox fault)", kind=kind, code=code, headers=named)


FAULTS: Final[Mapping[str, Complaint]] = {
    "400": _error(400, "Invalid request."),
    "401": _error(401, "Incorrect API key provided.", code="invalid_api_key"),
    "402": _error(402, "Insufficient credits.", "billing_error"),
    "403": _error(403, "You are not allowed to do this.", "permission_error"),
    "404": _error(404, "The model does not exist.", code="model_not_found"),
    "408": _error(408, "Request timed out.", "server_error"),
    "409": _error(409, "The resource is locked by another request.", "conflict_error"),
    "422": _error(422, "Unprocessable entity."),
    "429": _error(
        429,
        "Rate limit reached on requests per min (RPM): Limit 30000, Used 30000, Requested 1. "
        "Please try again in 200ms.",
        "requests",
        LIMITED,
        retry_after_ms="200",
        x_ratelimit_limit_requests="30000",
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="200ms",
    ),
    "500": _error(500, "The server had an error."),
    "502": _error(502, "Bad gateway."),
    "503": _error(503, "Slow down.", code="slow_down", retry_after="1"),
    "504": _error(504, "Gateway timeout."),
    "529": _error(529, "Overloaded.", "overloaded_error"),
    "quota": _error(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    "too-large": _error(
        429,
        "Request too large on tokens per min (TPM): Limit 30000, Requested 34307.",
        "tokens",
        LIMITED,
    ),
    "200-error": _error(200, "Provider returned error"),
}
