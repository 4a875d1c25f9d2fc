"""OpenRouter: OpenAI's wire, with errors of its own, and what each answer cost in the answer.

Facts: openrouter.ai/docs, errors and usage accounting. Errors come as `{"error": {"code": 429, ...}}`, inside an HTTP
200 too, or in a choice. With a key of one's own at the provider behind it (BYOK), `usage.cost` is OpenRouter's
fee, and what that provider charges stands beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from batchmill.providers.base import Call, Verdict
from batchmill.providers.fields import Field
from batchmill.providers.http import HttpProvider
from batchmill.providers.openai import OpenAIWire, bearer
from batchmill.providers.openai_fields import CHAT, EMBEDDINGS, passed_through
from batchmill.providers.signals import OPENAI, Meanings
from batchmill.providers.wire import Secret, get, head, post
from batchmill.requests.model import Endpoint

BASE_URL: Final = "https://openrouter.ai/api/v1"

CHAT_FIELDS: Final[Mapping[str, Field]] = passed_through(CHAT)
EMBEDDING_FIELDS: Final[Mapping[str, Field]] = passed_through(EMBEDDINGS)

MEANINGS: Final = Meanings(
    by_word={
        "input_flagged": Verdict.REFUSED,
        "content_filter": Verdict.REFUSED,
        "content_policy_violation": Verdict.REFUSED,
        "context_length_exceeded": Verdict.REFUSED,
        "model_not_found": Verdict.REFUSED,
        "insufficient_quota": Verdict.BLOCKED,
        "invalid_api_key": Verdict.BLOCKED,
    },
    by_status=OPENAI.by_status,
)
"""What OpenRouter's errors mean. 502 (a model's provider is down) and 503 (none is there now) are tried again."""

_ASK_FOR_COST: Final = b'"usage":{"include":true}'
_TELL_COST: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})


class OpenRouterWire(OpenAIWire):
    """A `Wire`: OpenRouter's. Arguments as of `OpenAIWire`.

    Raises:
        SettingsError: The URL or a key cannot be used. The message never holds a key.
    """

    def __init__(
        self, *, name: str = "openrouter", base_url: str = BASE_URL, api_keys: Sequence[str | Secret] = ()
    ) -> None:
        super().__init__(name=name, base_url=base_url, api_keys=api_keys, meanings=MEANINGS)
        # The list of models is there for anybody; only this one knows the key.
        self._key_probes = [get(head(name, self.base, "GET", "/key", bearer(key))) for key in self.keys]

    def write(self, call: Call) -> bytes:
        """The whole HTTP request of a call: its body as it is, and the wish to be told the cost."""
        if call.endpoint not in _TELL_COST:
            return super().write(call)
        return post(self._heads[call.account][call.endpoint], call, ask_for_cost(call.body))

    def probe(self, account: int) -> bytes:
        """A request for what the key may still spend."""
        return self._key_probes[account]


class OpenRouter(HttpProvider):
    """A `Provider` on OpenRouter's wire; arguments as of `OpenRouterWire` and `HttpProvider`.

    Raises:
        SettingsError: The URL or a key cannot be used. The message never holds the key.
    """

    def __init__(
        self,
        *,
        name: str = "openrouter",
        base_url: str = BASE_URL,
        api_keys: Sequence[str | Secret] = (),
        **http: Any,
    ) -> None:
        wire = OpenRouterWire(name=name, base_url=base_url, api_keys=api_keys)
        super().__init__(wire=wire, **http)


def ask_for_cost(body: bytes) -> bytes:
    """The body with `usage: {"include": true}`, unless it says something about that; its other bytes as they are."""
    start = body.lstrip()
    if not start.startswith(b"{") or (b'"usage"' in body and _says_usage(body)):
        return body
    rest = start[1:].lstrip()
    return b"".join((b"{", _ASK_FOR_COST, b"" if rest.startswith(b"}") else b",", rest))


def _says_usage(body: bytes) -> bool:
    try:
        said = orjson.loads(body)
    except ValueError:
        return True  # not for us to mend
    return isinstance(said, dict) and "usage" in said
