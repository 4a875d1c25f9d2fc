"""What `/v1/batches` takes and answers."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from batchmill.budgets.limits import limit_nanos
from batchmill.budgets.model import OnLimit
from batchmill.errors import ParameterError
from batchmill.providers.names import ProviderName
from batchmill.requests.checks import name_fault
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, Lane, OnUnknown
from batchmill.routing.names import MOST_FALLBACKS
from batchmill.routing.wants import dump_wants, read_wants
from workers.serving.creation import WantedBatch
from workers.serving.uploads import EXPIRES_S

WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])")
LONGEST_WINDOW_S = 30 * 86_400
MOST_METADATA = 16


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is no text that UTF-8 can write") from None
    return text


def _window(text: str) -> str:
    match = WINDOW.fullmatch(text)
    if match is None or not 3600 <= window_s(text) <= LONGEST_WINDOW_S:
        raise ValueError("a whole number of hours or days is expected, from 1h to 30d: 24h for instance")
    return text


def _amount(value: object) -> object:
    """Dollars as plain decimals, written as text or as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    return value if isinstance(value, str) else format(Decimal(repr(value)), "f")


def _limit(text: str) -> str:
    limit_nanos(text)
    return text


def window_s(text: str) -> int:
    """A completion window, in seconds."""
    match = WINDOW.fullmatch(text)
    assert match is not None
    return int(match[1]) * (3600 if match[2] == "h" else 86_400)


Name = Annotated[str, StringConstraints(max_length=512), AfterValidator(_no_nul)]
MetadataKey = Annotated[str, StringConstraints(max_length=64), AfterValidator(_no_nul)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(_no_nul)]
Window = Annotated[
    str, StringConstraints(max_length=8, pattern=r"^[1-9][0-9]{0,3}[hd]$"), AfterValidator(_window)
]
Usd = Annotated[str, BeforeValidator(_amount, json_schema_input_type=str | float), AfterValidator(_limit)]


class OutputExpiresAfter(BaseModel):
    """When the result files are removed."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(strict=True, ge=EXPIRES_S[0], le=EXPIRES_S[1])]
    """So long after each file was written."""


class CreateBatch(BaseModel):
    """A batch to be made. From `priority` on the fields are ours; OpenAI's client sends them as `extra_body`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    input_file_id: Annotated[Name, Field(min_length=1)]
    """A file that was uploaded for the purpose `batch`."""
    endpoint: Endpoint
    """What each line of it asks."""
    completion_window: Window = "24h"
    """`1h` to `30d`; what is not answered by then expires."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MOST_METADATA)] | None = None
    """Yours; keys of up to 64 characters."""
    output_expires_after: OutputExpiresAfter | None = None
    priority: Lane = Lane.NORMAL
    job_name: Name = ""
    """Under which `usage` and budgets count it."""
    request_type: Name = ""
    """What kind of questions these are: for the books, and for how long answers are kept."""
    user: Name = ""
    """For whom it is asked; a budget may be his."""
    budget_usd: Usd | None = Field(None, examples=["2.50"])
    """The most that it may cost."""
    on_budget: OnLimit | None = None
    """What happens when a budget has no room left."""
    cache: CacheMode = CacheMode.AUTO
    """Whether answers from before do: `auto` unless the request asks for variety; `refresh` asks anew and keeps."""
    on_unknown: OnUnknown = OnUnknown.RETRY
    """Whether a call that may have been billed without an answer is made again."""
    fallback: Annotated[list[Name], Field(max_length=MOST_FALLBACKS)] | None = None
    """Models that are asked next, in this order, when the line's own cannot answer: `provider/model`."""
    webhook_url: Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_no_nul)] | None = None
    """Is told, signed, how the batch has ended."""

    def wanted(self, tenant: str) -> WantedBatch:
        """What is asked for.

        Raises:
            ParameterError: A name is none, or a fallback names no model.
        """
        for param in ("job_name", "request_type", "user"):
            if (value := getattr(self, param)) and (fault := name_fault(param, value)) is not None:
                raise ParameterError(fault.message, param, fault.code)
        return WantedBatch(
            input_file=self.input_file_id,
            endpoint=self.endpoint,
            window_s=window_s(self.completion_window),
            metadata=self.metadata or {},
            output_expires_s=self.output_expires_after.seconds if self.output_expires_after else None,
            webhook_url=self.webhook_url or "",
            options=BatchOptions(
                lane=self.priority,
                cache=self.cache,
                on_unknown=self.on_unknown,
                job_name=self.job_name,
                request_type=self.request_type,
                tenant=tenant,
                user=self.user,
                budget_nanos=None if self.budget_usd is None else limit_nanos(self.budget_usd),
                on_budget=self.on_budget,
                routing=self._routing(),
            ),
        )

    def _routing(self) -> str:
        if not self.fallback:
            return ""
        wants, faults = read_wants({"fallback": self.fallback}, default_provider=ProviderName.OPENAI)
        if faults:
            param = (faults[0].param or "").removeprefix("routing.")
            raise ParameterError(faults[0].message.replace("routing.", ""), param, faults[0].code)
        return dump_wants(wants)


class BatchError(BaseModel):
    """What is wrong with a line of the input, or with all of it."""

    code: str | None = None
    line: int | None = None
    message: str | None = None
    param: str | None = None


class BatchErrors(BaseModel):
    """All that is."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel):
    """How many lines have come how far."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    total: int
    """0 while the input is read."""
    completed: int
    failed: int
    """Failed, expired or cancelled."""


class InputDetails(BaseModel):
    """Of the input."""

    cached_tokens: int


class OutputDetails(BaseModel):
    """Of the output."""

    reasoning_tokens: int


class BatchUsage(BaseModel):
    """What the calls of a batch came to; what the cache answered is not in it."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Webhook(BaseModel):
    """Whom to tell how a batch ended, and what became of that."""

    url: str
    state: Literal["waiting", "pending", "sent", "given_up"]
    tries: int
    error: str | None


class Batch(BaseModel):
    """A batch. From `cost_usd` on the fields are ours. Times are Unix seconds."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    """The one that all its lines ask for; null where there are several."""
    errors: BatchErrors | None
    """Of a failed batch: all that is wrong with its input."""
    input_file_id: str | None
    """Null of a batch that the command line has made."""
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    """A paused batch is `in_progress`, and has a `paused_reason`."""
    output_file_id: str | None
    """Lines that were answered, in input order; null where none was."""
    error_file_id: str | None
    """All other lines; null where there are none."""
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    usage: BatchUsage | None
    """Once it has ended, if a call was made."""
    cost_usd: str
    """So far, in plain decimals; what is unknown is not in it."""
    cost_unknown: int
    """Answers whose price is not known."""
    progress: float
    """Lines that have ended, of all: 0 to 1."""
    eta: int | None
    """When it will have ended at the pace of now; only where one batch is asked for."""
    paused_reason: str | None
    unknown_attempts: int
    """Calls that may have been billed, as far as is known."""
    cached: int
    """Lines that the cache has answered."""
    calls: int
    """Calls that were made to providers."""
    priority: str
    job_name: str | None
    request_type: str | None
    user: str | None
    last_error: str | None
    removed_at: int | None
    """From then on its lines and answers are removed: they were kept long enough."""
    webhook: Webhook | None


class Quote(BaseModel):
    """What a batch will cost; as `batchmill quote --json` has it."""

    model_config = ConfigDict(extra="allow")


class BatchList(BaseModel):
    """A page of batches, newest first."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool
