"""Gemini's own wire, and the provider that speaks it over HTTP.

Facts: ai.google.dev/api and /gemini-api/docs/troubleshooting; wire-facts §2. Models, verbs and versions are parts
of the address, the key is a header, errors are a `google.rpc.Status`.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import orjson

from batchmill.errors import SettingsError
from batchmill.limits.model import Quota
from batchmill.money.usage import Usage
from batchmill.providers import answers, signals
from batchmill.providers.base import Call, Verdict
from batchmill.providers.gemini import answer as said
from batchmill.providers.gemini import ask, models
from batchmill.providers.gemini.table import CHAT_FIELDS, EMBEDDING_FIELDS
from batchmill.providers.http import HttpProvider
from batchmill.providers.signals import ErrorObject, Meanings
from batchmill.providers.wire import Answer, Secret, base_of, get, head, post, usable_keys
from batchmill.requests.model import Endpoint

__all__ = ["BASE_URL", "CHAT_FIELDS", "EMBEDDING_FIELDS", "GEMINI", "Gemini", "GeminiWire"]

BASE_URL: Final = "https://generativelanguage.googleapis.com"

GEMINI: Final = Meanings(
    by_word={
        # The account's fault: another may do better, the same will not before its owner acts.
        "api_key_invalid": Verdict.BLOCKED,  # with 400
        "api_key_expired": Verdict.BLOCKED,
        "billing_disabled": Verdict.BLOCKED,
        "billing_error": Verdict.BLOCKED,
        "credit_balance_exhausted": Verdict.BLOCKED,
        "project_spend_limit_exceeded": Verdict.BLOCKED,
        "failed_precondition": Verdict.BLOCKED,  # with 400: no free tier in this country, billing to be set up
        "permission_denied": Verdict.BLOCKED,
        "unauthenticated": Verdict.BLOCKED,
        # The request's fault, for good.
        "model_not_found": Verdict.REFUSED,
        "file_not_found": Verdict.REFUSED,  # with 403
        "context_length_exceeded": Verdict.REFUSED,
    },
    by_status={
        401: Verdict.BLOCKED,
        402: Verdict.BLOCKED,
        403: Verdict.BLOCKED,
        407: Verdict.BLOCKED,
        408: Verdict.RETRY,
        409: Verdict.RETRY,
        425: Verdict.RETRY,
        429: Verdict.THROTTLED,
        499: Verdict.UNKNOWN,  # cancelled on the way: it may have been answered, and billed
        501: Verdict.REFUSED,
        505: Verdict.REFUSED,
        # A proxy's in front of it: connected, but no answer in time. It may be answering, and billing.
        524: Verdict.UNKNOWN,
    },
)
"""Gemini's errors. Of the rest, 400, 404 and 413 are refused; 500, 503 and 504 are tried again."""

_KEPT_HEADS: Final = 256
"""Heads of requests that are kept: one for each model, verb and key in use."""

_VERBS: Final[Mapping[Endpoint, str]] = {
    Endpoint.CHAT: "generateContent",
    Endpoint.EMBEDDINGS: "batchEmbedContents",
}

# What Gemini tells in words only.
_TELLING: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"API key (?:not valid|not found|expired)", re.IGNORECASE), "api_key_invalid"),
    (
        re.compile(r"\bcredits? (?:are|is|have been|has been) (?:depleted|exhausted)", re.I),
        "credit_balance_exhausted",
    ),
    (re.compile(r"\bspend(?:ing)? cap\b", re.IGNORECASE), "project_spend_limit_exceeded"),
    (re.compile(r"\binput token count\b.*\bexceeds\b", re.IGNORECASE), "context_length_exceeded"),
    (re.compile(r"permission to access the File\b"), "file_not_found"),
    (
        re.compile(r"\b(?:models|tunedModels)/\S+ is not (?:found|supported)", re.IGNORECASE),
        "model_not_found",
    ),
)


class GeminiWire:
    """A `Wire`: Gemini's.

    Args:
        name: What messages call the provider.
        base_url: As the official SDK reads GOOGLE_GEMINI_BASE_URL, without a version.
        api_keys: Each sent as `x-goog-api-key`.
        api_version: `v1beta` knows every field; `v1` is what the official SDK takes by itself.
        clock: Seconds since the epoch, for the date of answers, which Gemini does not tell.

    Raises:
        SettingsError: The URL or a key cannot be used. The message never holds a key.
    """

    streams: Final = ()

    def __init__(
        self,
        *,
        name: str = "gemini",
        base_url: str = BASE_URL,
        api_keys: Sequence[str | Secret] = (),
        api_version: str = "v1beta",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.meanings = GEMINI
        self.base = base_of(name, base_url, BASE_URL)
        self.keys = usable_keys(name, api_keys)
        self.api_version = _version(name, api_version)
        self._clock = clock
        self._head = lru_cache(maxsize=_KEPT_HEADS)(self._new_head)

    def write(self, call: Call) -> bytes:
        """The whole HTTP request of a call."""
        body = ask.dump(ask.translate(call.endpoint, call.model, call.body))
        path = f"/{self.api_version}/{models.path(call.model)}:{_VERBS[call.endpoint]}"
        return post(self._head("POST", path, call.account), call, body)

    def probe(self, account: int) -> bytes:
        """A request for the list of models."""
        return get(self._head("GET", f"/{self.api_version}/models", account))

    def quotas(self, headers: Mapping[str, str]) -> tuple[Quota, ...]:
        """Nothing: Gemini does not tell."""
        return ()

    def read(self, endpoint: Endpoint, answer: Any, body: bytes) -> Answer | None:
        """The answer in OpenAI's shape; None when it is no finished one."""
        if not isinstance(answer, dict):
            return None
        embedded = endpoint is Endpoint.EMBEDDINGS
        try:
            content = said.embeddings(answer) if embedded else said.chat(answer, int(self._clock()))
            return None if content is None else Answer(content, orjson.dumps(content))
        except orjson.JSONEncodeError:  # arguments nested so deeply that nobody could use them
            return None

    def usage(self, endpoint: Endpoint, answer: Any) -> Usage | None:
        """What its `usageMetadata` says."""
        told = said.usage(endpoint, answer)
        return None if told is None else answers.read_usage(endpoint, {"usage": told})

    def explain(self, status: int, answer: Any) -> ErrorObject:
        """What its error says; where only words tell, they are looked for the cause."""
        error = signals.explain(status, answer)
        code = next((code for telling, code in _TELLING if telling.search(error.message)), "")
        return replace(error, code=code) if code else error

    def error_body(self, error: ErrorObject, body: bytes | None) -> bytes | None:
        """The error in OpenAI's shape; None where there was no body."""
        return None if body is None else signals.body_of(error, unnamed="api_error")

    def _new_head(self, method: str, path: str, account: int) -> bytes:
        return head(self.name, self.base, method, path, {"x-goog-api-key": self.keys[account]})


class Gemini(HttpProvider):
    """A `Provider` on Gemini's wire; arguments as of `GeminiWire` and `HttpProvider`.

    Raises:
        SettingsError: The URL or a key cannot be used. The message never holds a key.
    """

    def __init__(
        self,
        *,
        name: str = "gemini",
        base_url: str = BASE_URL,
        api_keys: Sequence[str | Secret] = (),
        api_version: str = "v1beta",
        clock: Callable[[], float] = time.time,
        **http: Any,
    ) -> None:
        wire = GeminiWire(
            name=name, base_url=base_url, api_keys=api_keys, api_version=api_version, clock=clock
        )
        super().__init__(wire=wire, clock=clock, **http)


def _version(name: str, api_version: str) -> str:
    if not re.fullmatch(r"v\d[a-z0-9]*", api_version):
        raise SettingsError(f"the API version of {name} is none", "give v1beta or v1")
    return api_version
