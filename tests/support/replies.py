"""Replies as providers give them, and a judge with simple prices."""

import random
import time
from collections.abc import Mapping
from typing import Any

from batchmill.budgets.offers import CallOffers
from batchmill.cache.keeping import Keeping
from batchmill.cache.ttl import parse_ttls
from batchmill.clock import SystemClock
from batchmill.limits.gate import Gate
from batchmill.limits.memory import MemoryLimiter
from batchmill.money.bounds import Bounds
from batchmill.money.prices import Cost, Pricer
from batchmill.money.usage import Usage
from batchmill.providers.base import Reply, Verdict
from batchmill.requests.judge import Judge, RetryRules
from batchmill.requests.work import Job
from batchmill.routing.filters import Situation
from batchmill.routing.router import Router

PRICE_NANOS = 1_000

ANSWERED = Reply(
    verdict=Verdict.ANSWERED,
    status_code=200,
    body=b'{"choices":[{"message":{"content":"four"},"finish_reason":"stop"}]}',
    finish_reason="stop",
    usage=Usage(input_tokens=7, output_tokens=1),
)
CUT_SHORT = Reply(
    verdict=Verdict.ANSWERED,
    status_code=200,
    body=b'{"choices":[{"message":{"content":"fo"},"finish_reason":"length"}]}',
    finish_reason="length",
    usage=Usage(input_tokens=7, output_tokens=1),
)
REFUSED = Reply(
    verdict=Verdict.REFUSED,
    status_code=400,
    body=b'{"error":{}}',
    error_code="bad_request",
    error_message="no",
)
FAULTY = Reply(verdict=Verdict.RETRY, status_code=500, error_code="server_error", error_message="try again")
THROTTLED = Reply(verdict=Verdict.THROTTLED, status_code=429, error_code="rate_limit", error_message="slower")
BLOCKED = Reply(
    verdict=Verdict.BLOCKED, status_code=401, error_code="invalid_api_key", error_message="no key"
)
UNKNOWN = Reply(verdict=Verdict.UNKNOWN, error_code="timeout", error_message="no answer in time")


class FlatPrice:
    """Every answer costs the same."""

    def price(self, *, provider: str, model: str, usage: Usage | None) -> Cost:
        """1000 nano-dollars, if there is a usage at all."""
        return Cost(nanos=PRICE_NANOS) if usage is not None else Cost(nanos=None, reason="no_usage")


def make_judge(most_tries: int = 5) -> Judge:
    """A judge that draws the same delays each time."""
    return Judge(
        rules=RetryRules(most_tries=most_tries),
        prices=FlatPrice(),
        keeping=Keeping(ttls=parse_ttls("default=30d"), refusal_ttl_s=300),
        chance=random.Random(7),
    )


def make_offers() -> CallOffers:
    """Offers at the public list's prices."""
    return CallOffers(Bounds(Pricer(), output_cap_tokens=16_384))


def make_router() -> Router:
    """A router that knows of OpenAI and a server of our own, and of no catalogue."""

    def situation(job: Job, body: Mapping[str, Any]) -> Situation:
        return Situation(
            now_ms=0, providers={"openai", "local"}, most_tokens=lambda _: 0, expected_nanos=lambda _: None
        )

    return Router(
        providers={"openai", "local"},
        misfit=lambda target, endpoint, body: None,
        situation=situation,
        now_ms=SystemClock().now_ms,
    )


def make_gate() -> Gate:
    """A gate before both, which limits nothing."""
    accounts = {"openai": ["key"], "local": ["key"]}
    return Gate(MemoryLimiter(), accounts=accounts, room=1_000, clock=time.monotonic)
