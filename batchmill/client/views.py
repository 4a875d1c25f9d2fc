"""What the service tells of batches, quotes and answers, as producers read it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from batchmill.client.errors import LineFault

FAILED = "failed"
ENDED = ("completed", FAILED, "cancelled", "expired")
"""What a batch does not leave again."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests a batch has, and how many of them are answered or have failed.

    Attributes:
        total: 0 while they are still being read.
    """

    total: int
    completed: int
    failed: int

    @property
    def ended(self) -> int:
        """Those that nothing more will happen to."""
        return self.completed + self.failed


class BatchView:
    """A batch as the service told of it last; it does not change by itself.

    Attributes:
        raw: The whole object, as OpenAI's API has it and with batchmill's own fields.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = dict(raw)

    def __repr__(self) -> str:
        counts = self.counts
        return f"<{type(self).__name__} {self.id} {self.status} {counts.ended} of {counts.total}>"

    @property
    def id(self) -> str:
        """Its name: `batch_...`."""
        return str(self.raw["id"])

    @property
    def status(self) -> str:
        """validating, in_progress, finalizing, cancelling; completed, failed, cancelled or expired at the end."""
        return str(self.raw["status"])

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will happen to it, and its results are all there."""
        return self.status in ENDED

    @property
    def counts(self) -> Counts:
        """How far it is."""
        told = self.raw.get("request_counts") or {}
        return Counts(*(int(told.get(name) or 0) for name in ("total", "completed", "failed")))

    @property
    def progress(self) -> float:
        """The same as a part of one."""
        counts = self.counts
        told = self.raw.get("progress")
        return float(told) if told is not None else counts.ended / max(1, counts.total)

    @property
    def cost_usd(self) -> Decimal:
        """What it has cost so far, as far as that is known: see `cost_unknown` and `unknown_attempts`."""
        return _decimal(self.raw.get("cost_usd")) or Decimal(0)

    @property
    def cost_unknown(self) -> int:
        """How many of its answers have no known price, and are not in `cost_usd`."""
        return int(self.raw.get("cost_unknown") or 0)

    @property
    def unknown_attempts(self) -> int:
        """How many of its calls may have been billed without an answer, and are not in `cost_usd`."""
        return int(self.raw.get("unknown_attempts") or 0)

    @property
    def cached(self) -> int:
        """How many of its answers came from the cache."""
        return int(self.raw.get("cached") or 0)

    @property
    def eta(self) -> datetime | None:
        """When it will have ended, at its present pace; None where nobody can say."""
        return _moment(self.raw.get("eta"))

    @property
    def expires_at(self) -> datetime | None:
        """When it ends at the latest, answered or not."""
        return _moment(self.raw.get("expires_at"))

    @property
    def paused_reason(self) -> str | None:
        """Why it makes no calls at present; None while it does. Its status stays in_progress."""
        told = self.raw.get("paused_reason")
        return str(told) if told else None

    @property
    def priority(self) -> str:
        """Its lane: high, normal or low."""
        return str(self.raw.get("priority") or "normal")

    @property
    def job_name(self) -> str:
        """What its producer calls it."""
        return str(self.raw.get("job_name") or "")

    @property
    def metadata(self) -> dict[str, str]:
        """What its producer gave it to carry."""
        return dict(self.raw.get("metadata") or {})

    @property
    def errors(self) -> list[LineFault]:
        """Why it was not accepted: every fault of every line; empty for one that was."""
        told = (self.raw.get("errors") or {}).get("data") or ()
        return [
            LineFault(
                one.get("line"), str(one.get("code") or ""), str(one.get("message") or ""), one.get("param")
            )
            for one in told
        ]


@dataclass(frozen=True, slots=True)
class Quote:
    """What requests will cost, before anything is asked.

    Attributes:
        expected_usd: What they are expected to cost; None where none of them has a price.
        most_usd: The most that one call for each can cost; None likewise.
        lines: How many requests.
        calls: How many of them are asked: the others the cache answers, or they repeat another.
        fits: Whether every budget has room for what is expected.
        raw: All of it, as `batchmill quote --json` prints it.
    """

    expected_usd: Decimal | None
    most_usd: Decimal | None
    lines: int
    calls: int
    fits: bool
    raw: dict[str, Any]


def quote_of(told: Mapping[str, Any]) -> Quote:
    """A quote as the service tells it."""
    total = told.get("total") or {}
    return Quote(
        expected_usd=_decimal(total.get("expected_usd")),
        most_usd=_decimal(total.get("most_usd")),
        lines=int(total.get("lines") or 0),
        calls=int(total.get("calls") or 0),
        fits=bool(told.get("fits", True)),
        raw=dict(told),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedText:
    """An answer, and who gave it; `text, provider = ...` takes it apart.

    Attributes:
        text: "" where the model said nothing: it may have called a tool; see `raw`.
        provider: Who answered: openai, anthropic, ...
        model: Which model of that provider.
        cost_usd: What this call cost, 0 from the cache; None where nobody knows the price.
        cached: Whether the cache had it.
        raw: The whole answer, as OpenAI's API has it.
    """

    text: str
    provider: str
    model: str
    cost_usd: Decimal | None
    cached: bool
    raw: dict[str, Any]

    def __iter__(self) -> Iterator[str]:
        return iter((self.text, self.provider))


def generated_of(told: Mapping[str, Any], headers: Mapping[str, str], text: str) -> GeneratedText:
    """The same of a chat completion and what its headers say of it."""
    return GeneratedText(
        text=text,
        provider=headers.get("x-batchmill-provider", ""),
        model=headers.get("x-batchmill-model") or str(told.get("model") or ""),
        cost_usd=_decimal(headers.get("x-batchmill-cost-usd")),
        cached=headers.get("x-batchmill-cached") == "true",
        raw=dict(told),
    )


def _decimal(told: object) -> Decimal | None:
    try:
        return Decimal(str(told)) if told is not None else None
    except InvalidOperation:  # "unknown"
        return None


def _moment(told: object) -> datetime | None:
    return datetime.fromtimestamp(told, UTC) if isinstance(told, int | float) else None
