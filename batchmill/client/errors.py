"""What can go wrong between a producer and the service, below the one tree of `batchmill/errors.py`.

```
BatchmillError
├── ServiceUnreachableError      there is no service at the address, or it fell silent
├── EmbeddedServiceError         the service of this home does not start
├── ApiError                     the service refuses, or fails
│   ├── InvalidRequestError      400 413 422: the call itself is wrong
│   ├── AuthenticationError      401: no key, or one that is not known
│   ├── PermissionDeniedError    403: the key may not do this
│   ├── UnknownIdError           404: no batch, file or model of that id; also a NotFoundError
│   ├── StateError               409: not as things are; also a ConflictError
│   ├── RateLimitedError         429: too much at a time
│   ├── BudgetExceededError      429: a budget has no room for it
│   └── ServerError             5xx: the service, or a provider behind it
├── BatchFailedError             the batch was not accepted; with every bad line
├── RequestsFailedError          some of its requests have no answer
├── NotEndedError                there are no results yet; also a ConflictError
└── WaitTimeoutError             the batch has not ended in time; also a TimeoutError
```
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchmill.errors import BatchmillError, ConflictError, MisuseError, NotFoundError

SHOWN_LINES = 5


class ServiceUnreachableError(BatchmillError):
    """There is no service at the address, or it did not answer in time."""

    http_status = 503
    code = "service_unreachable"
    may_succeed_later = True


class EmbeddedServiceError(BatchmillError):
    """The service of this home does not start, or does not get ready."""

    http_status = 503
    code = "embedded_service"
    may_succeed_later = True


class ApiError(BatchmillError):
    """The service refuses a call, or fails at it.

    Attributes:
        status: Of HTTP.
        code: Which error it is, for programs; "" where the service did not say.
        param: The field at fault, or None.
        request_id: What the service's log calls the call; "" where it did not say.
    """

    code = ""

    def __init__(
        self,
        message: str,
        hint: str = "",
        status: int = 500,
        code: str = "",
        param: str | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, status, code, param, request_id)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id

    def __str__(self) -> str:
        parts = [f"HTTP {self.status}", self.code, self.request_id]
        return f"{self.message} ({', '.join(part for part in parts if part)})"


class InvalidRequestError(ApiError, MisuseError):
    """The call itself is wrong: a field, a value, its size."""


class AuthenticationError(ApiError):
    """The service wants a key, or does not know this one."""


class PermissionDeniedError(ApiError):
    """The key is known and may not do this."""


class UnknownIdError(ApiError, NotFoundError):
    """There is no such batch, file or model, or it is somebody else's."""


class StateError(ApiError, ConflictError):
    """It cannot be done as things are: the batch has ended, for instance."""


class RateLimitedError(ApiError):
    """Too much at a time; it has been tried again as often as the client may."""

    may_succeed_later = True


class BudgetExceededError(ApiError):
    """A budget has no room for it; nothing was asked, nothing was spent."""


class ServerError(ApiError):
    """The service fails, or a provider behind it."""

    may_succeed_later = True


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a line of the input.

    Attributes:
        line: From 1; None for the file as a whole.
        param: The field at fault, or None.
    """

    line: int | None
    code: str
    message: str
    param: str | None = None

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line is not None else self.message


class BatchFailedError(BatchmillError):
    """The service looked at the requests and accepted none: nothing was asked, nothing was spent.

    Attributes:
        batch_id: Which batch.
        errors: Every fault of every line.
    """

    http_status = 400
    code = "batch_failed"

    def __init__(self, batch_id: str, errors: Sequence[LineFault] = ()) -> None:
        told = "; ".join(str(fault) for fault in errors[:SHOWN_LINES])
        rest = f"; and {len(errors) - SHOWN_LINES:,} more" if len(errors) > SHOWN_LINES else ""
        super().__init__(
            f"{batch_id} was not accepted: {told or 'the service did not say why'}{rest}",
            "correct these and submit again; `.errors` has all of them",
        )
        self.args = (batch_id, errors)
        self.batch_id = batch_id
        self.errors = list(errors)


class RequestsFailedError(BatchmillError):
    """A batch has ended, and some of its requests have no answer."""

    code = "requests_failed"


class NotEndedError(ConflictError):
    """There are no results in order yet, as the batch is still under way."""

    code = "not_ended"


class WaitTimeoutError(BatchmillError, TimeoutError):
    """A batch has not ended in the time that was given to it. It goes on."""

    code = "wait_timeout"
    may_succeed_later = True
