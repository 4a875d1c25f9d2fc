"""OpenAI's wire, which OpenRouter, Groq, vLLM, Ollama, llama.cpp, LiteLLM and the sandbox speak too.

Bodies go through byte for byte, both ways.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batchmill.limits.model import Quota
from batchmill.money.usage import Usage
from batchmill.providers import answers, signals
from batchmill.providers.base import Call
from batchmill.providers.fields import Field
from batchmill.providers.http import HttpProvider
from batchmill.providers.openai_fields import CHAT, EMBEDDINGS, passed_through
from batchmill.providers.signals import OPENAI, ErrorObject, Meanings, quotas
from batchmill.providers.wire import Answer, Secret, base_of, get, head, post, usable_keys
from batchmill.requests.model import Endpoint
from batchmill.streams.pieces import STREAMED

CHAT_FIELDS: Final[Mapping[str, Field]] = passed_through(CHAT)
EMBEDDING_FIELDS: Final[Mapping[str, Field]] = passed_through(EMBEDDINGS)
"""Of OpenAI, and of every server of one's own that speaks its wire."""


class OpenAIWire:
    """A `Wire`: OpenAI's.

    Args:
        name: What messages call the provider.
        base_url: As the official SDK reads OPENAI_BASE_URL, version included, `https://api.openai.com/v1`
            for instance; `/chat/completions` and so on are added to it. A query is kept (Azure's
            `?api-version=`).
        api_keys: Each sent as a bearer token; "" sends no Authorization header, as local servers want it.
        organization: Whom to bill, for keys of several; "" leaves it to the provider.
        project: Likewise.

    Raises:
        SettingsError: The URL or a key cannot be used. The message never holds a key.
    """

    streams = STREAMED

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_keys: Sequence[str | Secret] = (),
        organization: str = "",
        project: str = "",
        meanings: Meanings = OPENAI,
    ) -> None:
        self.name = name
        self.meanings = meanings
        self.base = base_of(name, base_url, "https://api.openai.com/v1")
        self.keys = usable_keys(name, api_keys)
        accounts = [bearer(key, organization, project) for key in self.keys]
        self._heads = [
            {
                endpoint: head(name, self.base, "POST", endpoint.removeprefix("/v1"), account)
                for endpoint in Endpoint
            }
            for account in accounts
        ]
        self._probes = [get(head(name, self.base, "GET", "/models", account)) for account in accounts]

    def write(self, call: Call) -> bytes:
        """The whole HTTP request of a call, its body as it is."""
        return post(self._heads[call.account][call.endpoint], call, call.body)

    def probe(self, account: int) -> bytes:
        """A request for the list of models."""
        return self._probes[account]

    def quotas(self, headers: Mapping[str, str]) -> tuple[Quota, ...]:
        """What its limits are, and how much of them is left."""
        return quotas(headers)

    def read(self, endpoint: Endpoint, answer: Any, body: bytes) -> Answer | None:
        """The answer as it is; None when it is no finished one."""
        if isinstance(answer, dict) and answers.is_answer(endpoint, answer):
            return Answer(answer, body)
        return None

    def usage(self, endpoint: Endpoint, answer: Any) -> Usage | None:
        """What its `usage` says."""
        named = isinstance(answer, dict) and answer.get("usage")
        return answers.read_usage(endpoint, answer) if named else None

    def explain(self, status: int, answer: Any) -> ErrorObject:
        """What its error object says."""
        return signals.explain(status, answer)

    def error_body(self, error: ErrorObject, body: bytes | None) -> bytes | None:
        """The body as it is."""
        return body


class OpenAICompatible(HttpProvider):
    """A `Provider` on OpenAI's wire; arguments as of `OpenAIWire` and `HttpProvider`.

    Raises:
        SettingsError: The URL or the key cannot be used. The message never holds the key.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str = "https://api.openai.com/v1",
        api_key: str | Secret = "",
        organization: str = "",
        project: str = "",
        **http: Any,
    ) -> None:
        wire = OpenAIWire(
            name=name, base_url=base_url, api_keys=[api_key], organization=organization, project=project
        )
        super().__init__(wire=wire, **http)


def bearer(key: str, organization: str = "", project: str = "") -> Mapping[str, str]:
    """The headers that say who calls; "" leaves one out."""
    return {
        "Authorization": f"Bearer {key}" if key else "",
        "OpenAI-Organization": organization,
        "OpenAI-Project": project,
    }
