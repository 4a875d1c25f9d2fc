"""Anthropic's Messages API: where it is, what its errors mean, how much of its limits is left.

Version 2023-06-01 on purpose: the newer one of 2026 takes neither temperature nor top_p (wire-facts §0).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from batchmill.limits.model import RATES, Quota
from batchmill.money.usage import Usage
from batchmill.providers import answers, signals
from batchmill.providers.anthropic import answer, ask
from batchmill.providers.base import Call, Verdict
from batchmill.providers.fields import Field
from batchmill.providers.http import HttpProvider
from batchmill.providers.signals import ErrorObject, Meanings, count, until_s
from batchmill.providers.wire import Answer, Secret, base_of, get, head, post, usable_keys
from batchmill.requests.model import Endpoint

BASE_URL: Final = "https://api.anthropic.com"
VERSION: Final = "2023-06-01"

CHAT_FIELDS: Final[Mapping[str, Field]] = ask.FIELDS | answer.FIELDS
EMBEDDING_FIELDS: Final[Mapping[str, Field]] = ask.EMBEDDING_FIELDS

MEANINGS: Final = Meanings(
    by_word={
        "enforced_spend_limit_reached": Verdict.BLOCKED,
        "contract_spend_limit_reached": Verdict.BLOCKED,
        "linked_organization_spend_limit_reached": Verdict.BLOCKED,
        "linked_organization_billing_unavailable": Verdict.BLOCKED,
        "organization_on_hold": Verdict.BLOCKED,
        "sandbox_egress_restricted": Verdict.BLOCKED,
        "cmek_key_disabled": Verdict.BLOCKED,
        "cmek_key_network_blocked": Verdict.BLOCKED,
        "authentication_error": Verdict.BLOCKED,
        "billing_error": Verdict.BLOCKED,
        "permission_error": Verdict.BLOCKED,
        "not_found_error": Verdict.REFUSED,
        "request_too_large": Verdict.REFUSED,
    },
    by_status={
        401: Verdict.BLOCKED,
        402: Verdict.BLOCKED,
        403: Verdict.BLOCKED,
        407: Verdict.BLOCKED,
        408: Verdict.RETRY,
        409: Verdict.RETRY,
        413: Verdict.REFUSED,
        425: Verdict.RETRY,
        429: Verdict.THROTTLED,
        501: Verdict.REFUSED,
        505: Verdict.REFUSED,
        # Cloudflare's, in front of Anthropic: connected, but no answer in time. It may be answering, and billing.
        524: Verdict.UNKNOWN,
        529: Verdict.RETRY,
    },
    # An account without credit is told so in a 400 that has no word of its own for it.
    by_opening={
        "Your credit balance is too low": Verdict.BLOCKED,
        "You have reached your specified API usage limits": Verdict.BLOCKED,
        "This organization has been disabled": Verdict.BLOCKED,
    },
)
"""What Anthropic's errors mean: platform.claude.com/docs/en/api/errors and the types of its SDK."""


class AnthropicWire:
    """A `Wire`: Anthropic's.

    Args:
        name: What messages call the provider.
        base_url: As the official SDK reads ANTHROPIC_BASE_URL; `/v1/messages` is added to it.
        api_keys: Each sent as `x-api-key`.
        clock: Seconds since the epoch; dates answers.

    Raises:
        SettingsError: The URL or a key cannot be used. The message never holds a key.
    """

    streams: Final = ()

    def __init__(
        self,
        *,
        name: str = "anthropic",
        base_url: str = BASE_URL,
        api_keys: Sequence[str | Secret] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.meanings = MEANINGS
        self.base = base_of(name, base_url, BASE_URL)
        self.keys = usable_keys(name, api_keys)
        self._clock = clock
        accounts = [{"x-api-key": key, "anthropic-version": VERSION} for key in self.keys]
        self._heads = [head(name, self.base, "POST", "/v1/messages", account) for account in accounts]
        self._probes = [get(head(name, self.base, "GET", "/v1/models", account)) for account in accounts]

    def write(self, call: Call) -> bytes:
        """The whole HTTP request of a call, translated."""
        return post(self._heads[call.account], call, ask.write_body(call))

    def probe(self, account: int) -> bytes:
        """A request for the list of models."""
        return self._probes[account]

    def quotas(self, headers: Mapping[str, str]) -> tuple[Quota, ...]:
        """What its limits are, and how much of them is left."""
        return quotas(headers, self._clock())

    def read(self, endpoint: Endpoint, message: Any, body: bytes) -> Answer | None:
        """The message in OpenAI's shape; None when it has not ended."""
        try:
            said = answer.read_answer(message, int(self._clock()))
            return None if said is None else Answer(said, orjson.dumps(said))
        except orjson.JSONEncodeError:  # a tool's input nested so deeply that nobody could use it
            return None

    def usage(self, endpoint: Endpoint, message: Any) -> Usage | None:
        """What its `usage` says."""
        usage = answer.read_usage(message)
        return None if usage is None else answers.read_usage(endpoint, {"usage": usage})

    def explain(self, status: int, answer: Any) -> ErrorObject:
        """What its error object says."""
        return signals.explain(status, answer)

    def error_body(self, error: ErrorObject, body: bytes | None) -> bytes | None:
        """The error in OpenAI's shape; None where there was no JSON."""
        return None if body is None else signals.body_of(error)


class Anthropic(HttpProvider):
    """A `Provider` on Anthropic's wire; arguments as of `AnthropicWire` and `HttpProvider`.

    Raises:
        SettingsError: The URL or a key cannot be used. The message never holds the key.
    """

    def __init__(
        self,
        *,
        name: str = "anthropic",
        base_url: str = BASE_URL,
        api_keys: Sequence[str | Secret] = (),
        clock: Callable[[], float] = time.time,
        **http: Any,
    ) -> None:
        wire = AnthropicWire(name=name, base_url=base_url, api_keys=api_keys, clock=clock)
        super().__init__(wire=wire, clock=clock, **http)


def quotas(headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
    """What Anthropic's limits are and how much of them is left.

    `tokens` is whichever of the token limits is the tightest. Anthropic rounds the remaining tokens to thousands. The
    reset is when the whole limit is there again.

    Args:
        headers: Looked up in lower case.
        now: Seconds since the epoch.
    """
    found = []
    for dimension in RATES:
        limit, left, reset = (
            headers.get(f"anthropic-ratelimit-{dimension.replace('_', '-')}-{what}", "")
            for what in ("limit", "remaining", "reset")
        )
        if most := count(limit):
            quota = Quota(dimension=dimension, limit=most, remaining=count(left), reset_s=until_s(reset, now))
            found.append(quota)
    return tuple(found)
