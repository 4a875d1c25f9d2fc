"""What a provider's errors mean: status, headers and error object in, a verdict and a wait out.

Facts: wire-facts §2; OpenAI's error codes (platform.openai.com/docs/guides/error-codes), OpenRouter's
(openrouter.ai/docs/api-reference/errors). Nothing here raises, whatever a provider sends.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from batchmill.limits.model import Dimension, Quota
from batchmill.providers import rpc_status
from batchmill.providers.base import Verdict

LONGEST_WAIT_S: Final = 86_400.0
"""No provider asks for more than a day in earnest; a longer wait is taken as a day."""

REQUEST_TOO_LARGE: Final = "request_too_large"
REDIRECTED: Final = "redirected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanings:
    """What one provider's errors mean: the table that they are classified by.

    Attributes:
        by_word: What decides whatever the HTTP status; looked up as the error's code, then as its type.
        by_opening: What decides next: the first words of a message, for a cause that has no word of its own.
        by_status: What decides else. Of the rest, 500 and above is to be tried again, anything below is refused.
    """

    by_word: Mapping[str, Verdict]
    by_status: Mapping[int, Verdict]
    by_opening: Mapping[str, Verdict] = field(default_factory=dict)


_BY_WORD: Final[Mapping[str, Verdict]] = {
    "insufficient_quota": Verdict.BLOCKED,
    "credit_balance_exhausted": Verdict.BLOCKED,
    "organization_spend_limit_exceeded": Verdict.BLOCKED,
    "project_spend_limit_exceeded": Verdict.BLOCKED,
    "organization_usage_limit_exceeded": Verdict.BLOCKED,
    "billing_hard_limit_reached": Verdict.BLOCKED,
    "billing_not_active": Verdict.BLOCKED,
    "billing_error": Verdict.BLOCKED,
    "account_deactivated": Verdict.BLOCKED,
    "invalid_api_key": Verdict.BLOCKED,
    "api_key_invalid": Verdict.BLOCKED,  # Gemini's OpenAI endpoint, with 400
    # One model out of reach says nothing about the others the same key may use.
    "model_not_found": Verdict.REFUSED,
    "context_length_exceeded": Verdict.REFUSED,
    "content_filter": Verdict.REFUSED,
    "content_policy_violation": Verdict.REFUSED,
    "invalid_prompt": Verdict.REFUSED,
    "input_flagged": Verdict.REFUSED,
}

_BY_STATUS: Final[Mapping[int, Verdict]] = {
    401: Verdict.BLOCKED,
    402: Verdict.BLOCKED,
    403: Verdict.BLOCKED,
    407: Verdict.BLOCKED,
    408: Verdict.RETRY,
    409: Verdict.RETRY,
    425: Verdict.RETRY,
    429: Verdict.THROTTLED,
    501: Verdict.REFUSED,
    505: Verdict.REFUSED,
    # Cloudflare's "connected, but no answer in time": the origin may be answering, and billing, still.
    524: Verdict.UNKNOWN,
}

OPENAI: Final = Meanings(by_word=_BY_WORD, by_status=_BY_STATUS)
"""OpenAI's errors, and those of whoever speaks its wire."""

# The status that an error's own word stands for, where HTTP said 200.
_STATUS_OF_WORD: Final[Mapping[str, int]] = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "slow_down": 503,
    "overloaded_error": 529,
    "server_error": 500,
    "internal_server_error": 500,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "billing_error": 402,
    "request_too_large": 413,
    "api_error": 500,
    "timeout_error": 504,
}

_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
_AMOUNT = r"(\d{1,3}(?:,\d{3}){1,5}|\d{1,18})\b"  # 30000 or 30,000
_LIMIT_AND_REQUESTED = re.compile(rf"\bLimit:? {_AMOUNT}.{{0,80}}?\bRequested:? {_AMOUNT}")
_GO_PART = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(h|ms|m|s|us|µs|ns)")
_GO_DURATION = re.compile(rf"(?:{_GO_PART.pattern})+")
_PLAIN_SECONDS = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_TRY_AGAIN = re.compile(
    r"(?:try again in|retry after) (?:(\d{1,15}(?:\.\d{1,15})?) ?seconds?\b|([\d.hmsuµn]+))", re.IGNORECASE
)
_GO_UNIT_S: Final[Mapping[str, float]] = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorObject:
    """What a provider says went wrong; "" and None where it does not say.

    Attributes:
        status: The HTTP status named inside the error, as OpenRouter and Gemini do.
        retry_after_s: The wait that the error itself asks for, as Gemini's do.
    """

    code: str = ""
    type: str = ""
    message: str = ""
    status: int | None = None
    retry_after_s: float | None = None


def find_error(answer: Any) -> ErrorObject | None:
    """The error that an answer carries, wherever providers put it; None when it carries none.

    Places: `error` (object or text), a list of one such (Gemini's OpenAI endpoint), `{"object": "error"}`
    (vLLM), `choices[].error` (OpenRouter, HTTP 200).
    """
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if not error and answer.get("object") == "error":
        error = answer
    if not error and isinstance(choices := answer.get("choices"), list):
        error = next((c["error"] for c in choices if isinstance(c, dict) and c.get("error")), None)
    if not error:
        return None
    if isinstance(error, dict):
        return _read_error(error)
    return ErrorObject(message=str(error), type=_text(answer.get("error_type")))


def explain(status: int, answer: Any) -> ErrorObject:
    """The error object of an answer whose HTTP status says it is one, made up where the body holds none.

    `detail` (FastAPI's habit) and `message` beside no `error` are read too.
    """
    error = find_error(answer)
    if error is not None:
        return error
    detail = answer.get("detail") or answer.get("message") if isinstance(answer, dict) else None
    return ErrorObject(message=str(detail) if detail else f"HTTP {status} without an explanation")


def classify(status: int, error: ErrorObject, meanings: Meanings = OPENAI) -> tuple[Verdict, str]:
    """The verdict on an answer that is an error, and its machine-readable cause, never "".

    Args:
        status: As HTTP said it. Below 300 the error's own status or words stand in for it, and an error
            that names neither is a passing fault.
    """
    cause = error.code or error.type
    if status < 300:
        status = _inner_status(error)
    cause = cause or f"http_{status}"
    if status == 429 and _never_fits(error.message):
        return Verdict.REFUSED, REQUEST_TOO_LARGE
    for word in (error.code, error.type):
        if word in meanings.by_word:
            return meanings.by_word[word], cause
    for opening, verdict in meanings.by_opening.items():
        if error.message.startswith(opening):
            return verdict, cause
    if status in meanings.by_status:
        return meanings.by_status[status], cause
    if 300 <= status < 400:
        return Verdict.BLOCKED, REDIRECTED  # the address is wrong; once it is right, every line goes on
    return (Verdict.RETRY if status >= 500 else Verdict.REFUSED), cause


def body_of(error: ErrorObject, *, unnamed: str = "") -> bytes:
    """An error as the body of OpenAI's.

    Args:
        unnamed: The type of one that has none.
    """
    told = {
        "message": error.message,
        "type": error.type or unnamed,
        "param": None,
        "code": error.code or None,
    }
    return orjson.dumps({"error": told})


def retry_after_s(
    headers: Mapping[str, str], message: str, now: float, asked_s: float | None = None
) -> float | None:
    """Seconds until the provider wants to hear from us again, 0.0 to a day; None when it does not say.

    Looked for in `retry-after-ms`, `retry-after` (seconds or date), the reset of whichever
    `x-ratelimit-remaining-*` or `anthropic-ratelimit-*-remaining` is 0 (the later one), and the message ("try again
    in 1.146s").

    Args:
        headers: Looked up in lower case; give a case-insensitive mapping.
        now: Seconds since the epoch, for a date when the answer has no `date` of its own.
        asked_s: The wait that the error object asks for.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return _bounded(millis / 1000)
    after = headers.get("retry-after")
    seconds = _number(after)
    if seconds is None:
        seconds = _until(after, headers.get("date"), now)
    if seconds is None:
        seconds = _reset_s(headers, now)
    if seconds is None:
        seconds = asked_s
    if seconds is None:
        seconds = _asked_in_words(message)
    return None if seconds is None else _bounded(seconds)


def duration_s(text: str) -> float | None:
    """Seconds of a Go duration (`12ms`, `1s`, `6m0s`, `1h2m3.5s`) or of plain seconds; None for neither."""
    if _PLAIN_SECONDS.fullmatch(text):
        return float(text)
    if not _GO_DURATION.fullmatch(text):
        return None
    return sum(float(number) * _GO_UNIT_S[unit] for number, unit in _GO_PART.findall(text))


def until_s(text: str, now: float) -> float | None:
    """Seconds from now to an RFC 3339 moment, 0.0 if it is past; None for what is none.

    Args:
        now: Seconds since the epoch.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(moment.timestamp() - now, 0.0) if moment.tzinfo else None


def count(text: str | None) -> int | None:
    """A whole number of 0 or more from a header; None for what is none, Azure's -1 for instance."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


_LIMITS: Final = tuple(
    (dimension, f"x-ratelimit-limit-{dimension}") for dimension in (Dimension.REQUESTS, Dimension.TOKENS)
)


def quotas(headers: Mapping[str, str]) -> tuple[Quota, ...]:
    """What OpenAI's limits are and how much of them is left, by requests and by tokens.

    Without a limit there is no entry, as with Azure, which may send -1, -1 and 0. A reset beyond a day is some
    provider's epoch, not a duration: None.

    Args:
        headers: Looked up in lower case.
    """
    found = []
    for dimension, header in _LIMITS:
        if header in headers and (limit := count(headers[header])):
            reset_s = duration_s(headers.get(f"x-ratelimit-reset-{dimension}", ""))
            quota = Quota(
                dimension=dimension,
                limit=limit,
                remaining=count(headers.get(f"x-ratelimit-remaining-{dimension}")),
                reset_s=None if reset_s is None or reset_s > LONGEST_WAIT_S else reset_s,
            )
            found.append(quota)
    return tuple(found)


def _read_error(error: Mapping[str, Any]) -> ErrorObject:
    code, status = error.get("code"), None
    if isinstance(code, (int, str)) and re.fullmatch(r"[1-5]\d\d", str(code)):
        status, code = int(code), None
    if isinstance(details := error.get("details"), dict):
        code = code or details.get("error_code")  # Anthropic's
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and ("flagged_input" in metadata or "reasons" in metadata):
        code = code or "input_flagged"  # OpenRouter's 403 for moderation: the request's fault, not the key's
    details = error.get("details")
    message = error.get("message")
    return ErrorObject(
        code=_text(code) or rpc_status.reason(details),
        type=_text(error.get("type")) or _text(error.get("status")).lower(),
        message=str(message) if message else "",
        status=status,
        retry_after_s=rpc_status.wait_s(details),
    )


def _inner_status(error: ErrorObject) -> int:
    if error.status is not None and error.status >= 300:
        return error.status
    return next((_STATUS_OF_WORD[w] for w in (error.code, error.type) if w in _STATUS_OF_WORD), 500)


def _never_fits(message: str) -> bool:
    if _TOO_LARGE.search(message):
        return True
    found = _LIMIT_AND_REQUESTED.search(message)
    return found is not None and _amount(found[2]) > _amount(found[1])


def _amount(text: str) -> int:
    return int(text.replace(",", ""))


def _text(value: Any) -> str:
    return str(value) if isinstance(value, (str, int)) and value else ""


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _until(after: str | None, sent: str | None, now: float) -> float | None:
    # Measured from the server's own clock where it tells it: ours may differ by minutes.
    then, base = _epoch(after), _epoch(sent)
    return None if then is None else then - (now if base is None else base)


def _epoch(date: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reset_s(headers: Mapping[str, str], now: float) -> float | None:
    waits = [
        duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
        for kind in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{kind}")) == 0.0
    ] + [
        until_s(headers.get(f"anthropic-ratelimit-{kind}-reset", ""), now)
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
        if _number(headers.get(f"anthropic-ratelimit-{kind}-remaining")) == 0.0
    ]
    # A "reset" beyond a day is some provider's epoch, not a duration.
    return max((wait for wait in waits if wait is not None and wait <= LONGEST_WAIT_S), default=None)


def _asked_in_words(message: str) -> float | None:
    found = _TRY_AGAIN.search(message)
    if found is None:
        return None
    return float(found[1]) if found[1] else duration_s(found[2].rstrip("."))
