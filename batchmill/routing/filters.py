"""What keeps a model from a question: each check knows one reason, and the first that applies is told."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from batchmill.catalogue.entries import ModelEntry
from batchmill.requests.model import Endpoint
from batchmill.routing.complexity import Complexity
from batchmill.routing.question import Question

LEAST_CALLS = 20
"""From so many calls on, what they took counts in place of the catalogue's number."""


class WhyNot(StrEnum):
    """Why a model is not a candidate, in the order in which that is looked at."""

    DISABLED = "disabled"
    GIVEN_UP = "given_up"
    """It has been asked, and did not answer."""
    MISFIT = "misfit"
    """Its provider has no way to say what the request asks."""
    ENDPOINT = "endpoint"
    """Its provider does not serve the endpoint."""
    CAPABILITY = "capability"
    """It cannot do something that the request needs."""
    CONTEXT = "context"
    """Request and answer may be longer than its window."""
    OUTPUT_CAP = "output_cap"
    """The request allows a longer answer than it writes."""
    USER_TIER = "user_tier"
    """Its user may not have a model of its tier."""
    PROVIDER = "provider"
    """Its provider has no key, or no address, here."""
    CIRCUIT = "circuit"
    """It failed too often a moment ago."""
    QUALITY = "quality"
    """It is below the floor."""
    QUALITY_UNKNOWN = "quality_unknown"
    """Nobody has said how good it is, and the question is not simple."""
    LATENCY = "latency"
    """It takes longer than is wanted."""
    LATENCY_UNKNOWN = "latency_unknown"
    """Nobody knows how long it takes, and a longest time is wanted."""
    TIER = "tier"
    """Another tier is preferred, and has a model that fits."""
    SPARE = "spare"
    """It fits, but enough better ones do."""


class LatencySource(StrEnum):
    """Where it is known from how long a model takes."""

    OWN = "own"
    """From our own calls."""
    CATALOGUE = "catalogue"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLatency:
    """How long our own calls of a model took.

    Attributes:
        calls: How many that is known of.
        latency_ms: Typically, as the catalogue means it: from the call to the whole answer.
    """

    calls: int
    latency_ms: int


class No(NamedTuple):
    """Why a model is not a candidate: for machines, and for people."""

    why_not: WhyNot
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known here and now.

    Attributes:
        providers: Those that can be called here: they have a key, or an address.
        most_tokens: How many tokens the question and its answer may come to with a model.
        expected_nanos: What the answer of a model is expected to cost; None = no price is known.
        endpoints: What a provider serves; one that is not in it serves all.
        open_until_ms: Until when a circuit lets no call through, by provider and model.
        latencies: What our own calls took, by provider and model.
        out: Who is out for this very request, by provider and model.
    """

    now_ms: int
    providers: Collection[str]
    most_tokens: Callable[[ModelEntry], int]
    expected_nanos: Callable[[ModelEntry], int | None]
    endpoints: Mapping[str, Collection[Endpoint]] = field(default_factory=dict)
    open_until_ms: Mapping[tuple[str, str], int] = field(default_factory=dict)
    latencies: Mapping[tuple[str, str], OwnLatency] = field(default_factory=dict)
    out: Mapping[tuple[str, str], No] = field(default_factory=dict)

    def latency_of(self, model: ModelEntry) -> tuple[int | None, LatencySource]:
        """Return how long a model typically takes, in milliseconds, and who says so."""
        own = self.latencies.get(model.key)
        if own is not None and own.calls >= LEAST_CALLS:
            return own.latency_ms, LatencySource.OWN
        source = LatencySource.UNKNOWN if model.latency_ms is None else LatencySource.CATALOGUE
        return model.latency_ms, source


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a model has to pass for one question, in one situation."""

    question: Question
    here: Situation

    def against(self, model: ModelEntry) -> No | None:
        """Return the first thing that speaks against a model; None = it fits."""
        return self._unfit(model) or self._circuit(model) or self._poor(model)

    def has_only_to_rest(self, model: ModelEntry) -> bool:
        """Whether nothing but its circuit speaks against a model."""
        return not self._unfit(model) and self._circuit(model) is not None and not self._poor(model)

    def _unfit(self, model: ModelEntry) -> No | None:
        if not model.is_active:
            return No(WhyNot.DISABLED, "it is disabled")
        if (no := self.here.out.get(model.key)) is not None:
            return no
        return self._endpoint(model) or self._capability(model) or self._size(model) or self._whose(model)

    def _circuit(self, model: ModelEntry) -> No | None:
        until_ms = self.here.open_until_ms.get(model.key, 0)
        if until_ms <= self.here.now_ms:
            return None
        wait_s = -(-(until_ms - self.here.now_ms) // 1000)
        return No(WhyNot.CIRCUIT, f"it failed just now and rests for {wait_s:,} s more")

    def _poor(self, model: ModelEntry) -> No | None:
        return self._quality(model) or self._latency(model)

    def _endpoint(self, model: ModelEntry) -> No | None:
        if self.question.endpoint is Endpoint.MODERATIONS:
            return No(WhyNot.ENDPOINT, "the catalogue does not say who moderates; name the model")
        if self.question.endpoint in self.here.endpoints.get(model.provider, (self.question.endpoint,)):
            return None
        return No(WhyNot.ENDPOINT, f"{model.provider} does not serve {self.question.endpoint}")

    def _capability(self, model: ModelEntry) -> No | None:
        lacking = sorted(self.question.needs.capabilities - model.capabilities)
        return No(WhyNot.CAPABILITY, f"it cannot do {', '.join(lacking)}") if lacking else None

    def _size(self, model: ModelEntry) -> No | None:
        if model.context_tokens is not None:
            needed = self.here.most_tokens(model)
            if needed > model.context_tokens:
                text = f"it takes {model.context_tokens:,} tokens, and up to {needed:,} are needed"
                return No(WhyNot.CONTEXT, text)
        wanted, cap = self.question.needs.output_tokens or 0, model.output_cap_tokens
        if cap is not None and wanted > cap:
            return No(WhyNot.OUTPUT_CAP, f"it writes {cap:,} tokens, and {wanted:,} are asked for")
        return None

    def _whose(self, model: ModelEntry) -> No | None:
        if not self.question.rule.allows(model.tier):
            return No(
                WhyNot.USER_TIER,
                f"it is {model.tier}, and its user may have {self.question.rule.cap} at most",
            )
        if model.provider not in self.here.providers:
            return No(WhyNot.PROVIDER, f"{model.provider} has no key or address here")
        return None

    def _quality(self, model: ModelEntry) -> No | None:
        complexity, floor = self.question.assessment.complexity, self.question.assessment.floor
        if model.quality is None:
            if complexity is Complexity.SIMPLE:
                return None
            text = f"its quality is not known, and a {complexity} question needs {floor:.2f}"
            return No(WhyNot.QUALITY_UNKNOWN, text)
        if model.quality >= floor:
            return None
        return No(
            WhyNot.QUALITY, f"its quality is {model.quality:g}, and a {complexity} question needs {floor:.2f}"
        )

    def _latency(self, model: ModelEntry) -> No | None:
        if self.question.max_latency_ms is None:
            return None
        latency_ms, source = self.here.latency_of(model)
        if latency_ms is None:
            return No(WhyNot.LATENCY_UNKNOWN, "how long it takes is not known")
        if latency_ms <= self.question.max_latency_ms:
            return None
        who = "by our own calls" if source is LatencySource.OWN else "by the catalogue"
        text = f"it takes {latency_ms:,} ms {who}, and {self.question.max_latency_ms:,} ms are wanted at most"
        return No(WhyNot.LATENCY, text)
