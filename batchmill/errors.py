"""Every error a user can meet, with what each face of the product makes of it.

```
BatchmillError
├── MisuseError            the command or call itself is wrong            exit 2 · HTTP 400
│   └── ParameterError     a parameter of a request is                    exit 2 · HTTP 400
├── SettingsError          a variable of the environment is wrong         exit 2 · HTTP 500
├── InputError             the input cannot be read or is empty           exit 1 · HTTP 400
│   └── InvalidLinesError  some lines of the input are not valid          exit 1 · HTTP 400
├── OutputError            the results cannot be written                  exit 1 · HTTP 500
├── NotFoundError          there is no such batch                         exit 1 · HTTP 404
├── TooLargeError          what is sent is larger than what is taken      exit 1 · HTTP 413
├── QuotaError             all that is kept together would be too much    exit 1 · HTTP 413
├── UnpricedError          a budget covers what has no known price        exit 1 · HTTP 400
├── ConflictError          something else is in the way: home, output     exit 1 · HTTP 409
│   └── ReusedKeyError     a request's name is taken by another           exit 1 · HTTP 409
├── DatabaseError          the database is away, locked, of other schema  exit 1 · HTTP 503
├── BrokerError            the broker is away                             exit 1 · HTTP 503
├── StoreError             the file store is away, full or not ours       exit 1 · HTTP 503
├── ServiceError           the service does not start, or not end         exit 1 · HTTP 503
├── BusyError              too much is asked at this moment               exit 1 · HTTP 503
├── WorkerError            the workers cannot do their work               exit 1 · HTTP 503
├── ProviderError          the provider is away or refuses the account    exit 1 · HTTP 502
├── OutOfTimeError         no answer came in the time that was granted    exit 1 · HTTP 504
├── DeliveryError          a mail server or webhook does not take it      exit 1 · HTTP 502
│   ├── RefusedMailError   nor will it later                              exit 1 · HTTP 502
│   └── UncertainMailError it may have taken it, its answer is missing    exit 1 · HTTP 502
└── StoppedError           stopped by a signal; the same command goes on  exit 130
```

What goes wrong between a producer's client and the service is below BatchmillError, too: `batchmill/client/errors.py`.
The positional arguments rebuild the exception, as pickle and Celery need.
"""

from typing import ClassVar


class BatchmillError(Exception):
    """What went wrong, to which thing, and what to do next.

    Args:
        message: What happened, naming the thing it happened to.
        hint: The next step for the reader; empty when there is none.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    code: str = "internal_error"
    may_succeed_later: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class MisuseError(BatchmillError):
    """The command or call itself is wrong."""

    exit_code = 2
    http_status = 400
    code = "invalid_request"


class ParameterError(MisuseError):
    """A parameter of a request over HTTP is wrong.

    Attributes:
        param: Which, as `metadata.tags`; "" where there is no single one.
        told_code: What OpenAI calls that.
    """

    def __init__(self, message: str, param: str = "", told_code: str = "invalid_value") -> None:
        super().__init__(message)
        self.args = (message, param, told_code)
        self.param = param
        self.told_code = told_code


class SettingsError(BatchmillError):
    """A setting has a value that cannot be used; the message names the variable."""

    exit_code = 2
    code = "invalid_settings"


class InputError(BatchmillError):
    """The input cannot be read, or there is nothing in it."""

    http_status = 400
    code = "invalid_input"


class InvalidLinesError(InputError):
    """Some lines of the input are not valid requests; none was accepted."""

    code = "invalid_lines"


class OutputError(BatchmillError):
    """The results cannot be written where they were asked for; they stay in the database."""

    code = "output_not_writable"
    may_succeed_later = True


class NotFoundError(BatchmillError):
    """What was named is not there, or the name fits more than one."""

    http_status = 404
    code = "not_found"


class TooLargeError(BatchmillError):
    """What is sent is larger than what is taken."""

    http_status = 413
    code = "file_too_large"


class QuotaError(BatchmillError):
    """What its owner keeps would be more than is granted."""

    http_status = 413
    code = "storage_quota_exceeded"


class UnpricedError(BatchmillError):
    """A budget is to cover calls whose price nobody knows, and does not allow that."""

    http_status = 400
    code = "unpriced_model"


class ConflictError(BatchmillError):
    """Something that is already there stands in the way."""

    http_status = 409
    code = "conflict"


class ReusedKeyError(ConflictError):
    """The name that a request gives itself, its Idempotency-Key, is taken by another."""

    code = "idempotency_key_in_use"


class DatabaseError(BatchmillError):
    """The database is away, locked, full, or of another schema."""

    http_status = 503
    code = "database_unavailable"
    may_succeed_later = True


class BrokerError(BatchmillError):
    """The broker is away."""

    http_status = 503
    code = "broker_unavailable"
    may_succeed_later = True


class StoreError(BatchmillError):
    """The file store does not answer, is full, or is not ours to write to."""

    http_status = 503
    code = "file_store_unavailable"
    may_succeed_later = True


class ServiceError(BatchmillError):
    """The HTTP service does not start, or does not end."""

    http_status = 503
    code = "service_unavailable"
    may_succeed_later = True


class BusyError(BatchmillError):
    """Too much of that is asked at this moment, or the service is about to stop; nothing was done about it."""

    http_status = 503
    code = "overloaded"
    may_succeed_later = True


class OutOfTimeError(BatchmillError):
    """No answer came in the time that a request is granted."""

    http_status = 504
    code = "request_timeout"
    may_succeed_later = True


class WorkerError(BatchmillError):
    """The workers cannot do their work, whatever it is that keeps them from it."""

    http_status = 503
    code = "worker_unavailable"
    may_succeed_later = True


class ProviderError(BatchmillError):
    """The provider cannot be reached, or refuses the account."""

    http_status = 502
    code = "provider_unavailable"
    may_succeed_later = True


class DeliveryError(BatchmillError):
    """A mail server or a webhook has not taken what it was to take, as far as is known; it will be tried again."""

    http_status = 502
    code = "not_delivered"
    may_succeed_later = True


class RefusedMailError(DeliveryError):
    """A mail server has said that it will not take this mail, whenever it is tried."""

    code = "mail_refused"
    may_succeed_later = False


class UncertainMailError(DeliveryError):
    """A mail server was handed a mail, and has not said whether it took it: a second try may be a second copy."""

    code = "mail_uncertain"


class StoppedError(BatchmillError):
    """Stopped by a signal; nothing is lost and the same command goes on.

    Attributes:
        at_once: Without waiting for the calls in flight, which become unknown.
    """

    exit_code = 130
    code = "stopped"
    may_succeed_later = True

    def __init__(self, message: str, hint: str = "", at_once: bool = False) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, at_once)
        self.at_once = at_once
