"""One call with its retries: what may be asked again is, after a pause that grows or that the service names."""

import random
from collections.abc import Mapping
from typing import Any

import orjson

from batchmill.client.errors import ServiceUnreachableError
from batchmill.client.faults import error_of, unreadable
from batchmill.client.steps import (
    Answer,
    LostError,
    NotReachedError,
    Open,
    Opened,
    Request,
    Send,
    Sleep,
    Steps,
)
from batchmill.client.uploads import Upload

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
LONGEST_OBEYED_S = 60.0
"""A longer `retry-after` is not waited for: the error goes to whoever asked."""

_PASSING = (408, 429, 500, 502, 503, 504)
_NOTHING_IS_LOST = "start the service, or correct the address: base_url=... or BATCHMILL_BASE_URL"


def asked(request: Request, max_retries: int) -> Steps[Answer]:
    """The good answer to a request.

    Raises:
        ApiError: The service refuses or fails, once more after every retry.
        ServiceUnreachableError: It does not answer.
    """
    answer: Answer = yield from _tried(request, max_retries, Send(request))
    return answer


def opened(request: Request, max_retries: int) -> Steps[Opened]:
    """The same for an answer whose body comes in pieces."""
    answer: Opened = yield from _tried(request, max_retries, Open(request))
    return answer


def told(request: Request, max_retries: int) -> Steps[dict[str, Any]]:
    """The JSON object that a request is answered with.

    Raises:
        ApiError: Also where it is none.
    """
    answer = yield from asked(request, max_retries)
    try:
        document = answer.document()
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise unreadable(answer)
    return document


def with_json(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The body and the headers of a request that carries JSON."""
    return {
        "content": orjson.dumps(document),
        "headers": {"content-type": "application/json"} | dict(headers or {}),
    }


def _tried(request: Request, max_retries: int, step: Send | Open) -> Steps[Any]:
    for attempt in range(max_retries + 1):
        is_last = attempt == max_retries
        try:
            came = yield step
        except NotReachedError as error:
            if is_last or not _can_be_sent_again(request):
                raise ServiceUnreachableError(
                    f"no service can be reached: {error}", _NOTHING_IS_LOST
                ) from error
            yield Sleep(pause_s(attempt))
            continue
        except LostError as error:
            if is_last or not request.may_repeat or not _can_be_sent_again(request):
                raise ServiceUnreachableError(
                    f"the service did not answer: {error}", _after_loss(request)
                ) from error
            yield Sleep(pause_s(attempt))
            continue
        answer = came.answer if isinstance(came, Opened) else came
        if answer.is_good:
            return came
        wait_s = _retry_after_s(answer)
        if is_last or not _may_be_asked_again(request, answer) or (wait_s or 0.0) > LONGEST_OBEYED_S:
            raise error_of(answer)
        yield Sleep(pause_s(attempt) if wait_s is None else wait_s)
    raise AssertionError("the last attempt neither returned nor raised")


def pause_s(attempt: int) -> float:
    """How long to wait before another try, the first being number 0: doubled each time, less up to a quarter."""
    longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    return longest * random.uniform(0.75, 1.0)


def _can_be_sent_again(request: Request) -> bool:
    return not isinstance(request.content, Upload) or request.content.may_repeat


def _may_be_asked_again(request: Request, answer: Answer) -> bool:
    """Whether another try may do better. What must not be done twice is, only where the service says it did nothing."""
    if not _can_be_sent_again(request):
        return False
    if answer.headers.get("x-should-retry", "").lower() == "false":
        return False
    if request.may_repeat:
        return answer.status in _PASSING
    return answer.status == 429 or (answer.status == 503 and _retry_after_s(answer) is not None)


def _retry_after_s(answer: Answer) -> float | None:
    """What the service asks to wait; None where it does not say, or says a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(answer.headers[name])) * unit
        except (KeyError, ValueError):
            continue
    return None


def _after_loss(request: Request) -> str:
    if request.may_repeat:
        return "ask again when the service is back"
    return "it may have been answered all the same, and paid for"
