"""Every way in which calls go out, made as the settings make them, and a sandbox on a loopback socket to call."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import orjson

from batchmill.providers.anthropic import wire as anthropic
from batchmill.providers.base import Call, Probe, Provider, Reply
from batchmill.providers.fields import Field
from batchmill.providers.gemini import legacy_words, table
from batchmill.providers.names import ProviderName
from batchmill.providers.openai import CHAT_FIELDS, EMBEDDING_FIELDS
from batchmill.requests.model import Endpoint
from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.outcomes import NOT_A_MODEL, Answer, Reaction
from batchmill.sandbox.prompts import WireName
from batchmill.sandbox.request import Request
from batchmill.sandbox.server import Server
from batchmill.settings import load_settings
from batchmill.settings.providers import GeminiTransport
from tests.support.provider_servers import Behave, answers, misbehaving
from workers.assembly import make_providers

KEYS = ("first-test-key-0123456789", "second-test-key-9876543210")
PATIENCE_S = 5.0
OPENING = f"This is the batchmill sandbox, {NOT_A_MODEL}: "
"""What every text of the sandbox begins with."""
T = TypeVar("T")


def says(role: str, content: Any) -> Mapping[str, Any]:
    """A message of a conversation."""
    return {"role": role, "content": content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to call a provider.

    Attributes:
        wire: Whose language the sandbox hears.
        address: The variable with the base address, and what it has behind the server's.
        key: The variable with the keys.
        model: One that is priced, at the sandbox as on the list.
        embedding_model: The same for embeddings; "" where there are none.
        fields: What becomes of each field of a chat, by the reference.
        embedding_fields: The same of embeddings.
        environ: What else is set.
    """

    name: str
    provider: ProviderName
    wire: WireName
    address: tuple[str, str]
    key: str
    model: str
    embedding_model: str
    fields: Mapping[str, Field]
    embedding_fields: Mapping[str, Field]
    environ: Mapping[str, str] = field(default_factory=dict)

    def make(self, address: str, concurrency: int = 8) -> Provider:
        """The provider, made within the running event loop.

        Args:
            address: The server's, without a path.
        """
        variable, path = self.address
        environ = {variable: address + path, self.key: ",".join(KEYS), **self.environ}
        return make_providers(load_settings(environ, None), concurrency)[self.provider]

    def chat(self, *, model: str = "", account: int = 0, timeout_s: float = PATIENCE_S, **body: Any) -> Call:
        """A call; a plain question unless told otherwise."""
        asked = {"messages": [{"role": "user", "content": "hello"}]} | body
        return self.call(Endpoint.CHAT, model or self.model, asked, account, timeout_s)

    def embed(self, *, account: int = 0, **body: Any) -> Call:
        """A call for embeddings."""
        return self.call(Endpoint.EMBEDDINGS, self.embedding_model or "m", {"input": "hello"} | body, account)

    def call(
        self,
        endpoint: Endpoint,
        model: str,
        body: Mapping[str, Any],
        account: int = 0,
        timeout_s: float = PATIENCE_S,
    ) -> Call:
        """Any call."""
        return Call(
            endpoint=endpoint,
            model=model,
            body=orjson.dumps({"model": model, **body}),
            client_request_id="r1/1",
            timeout_s=timeout_s,
            account=account,
        )


def _on_openais_wire(provider: ProviderName) -> Way:
    return Way(
        name=provider.value,
        provider=provider,
        wire=WireName.OPENAI,
        address=(f"{provider.value.upper()}_BASE_URL", "/v1"),
        key=f"{provider.value.upper()}_API_KEY",
        model="gpt-4o-mini",
        embedding_model="text-embedding-3-small",
        fields=CHAT_FIELDS,
        embedding_fields=EMBEDDING_FIELDS,
    )


def _to_gemini(transport: GeminiTransport) -> Way:
    is_old = transport is GeminiTransport.GOOGLE_GENERATIVEAI
    return Way(
        name="gemini" if transport is GeminiTransport.HTTP else transport.value,
        provider=ProviderName.GEMINI,
        wire=WireName.GEMINI,
        address=("GOOGLE_GEMINI_BASE_URL", ""),
        key="GEMINI_API_KEY",
        model="gemini-2.5-flash",
        embedding_model="gemini-embedding-001",
        fields={**table.CHAT_FIELDS, **(legacy_words.FIELDS if is_old else {})},
        embedding_fields=table.EMBEDDING_FIELDS,
        environ={"BATCHMILL_GEMINI_TRANSPORT": transport.value},
    )


WAYS: Mapping[str, Way] = {
    way.name: way
    for way in (
        _on_openais_wire(ProviderName.OPENAI),
        _on_openais_wire(ProviderName.LOCAL),
        _on_openais_wire(ProviderName.OPENROUTER),
        Way(
            name="anthropic",
            provider=ProviderName.ANTHROPIC,
            wire=WireName.ANTHROPIC,
            address=("ANTHROPIC_BASE_URL", ""),
            key="ANTHROPIC_API_KEY",
            model="claude-haiku-4-5",
            embedding_model="",
            fields=anthropic.CHAT_FIELDS,
            embedding_fields=anthropic.EMBEDDING_FIELDS,
        ),
        *(_to_gemini(transport) for transport in GeminiTransport),
    )
}


class Met(NamedTuple):
    """What a call came to.

    Attributes:
        reply: What the provider made of it.
        heard: What reached the sandbox.
        billed: What that added to the sandbox's bill.
    """

    reply: Reply
    heard: list[Request]
    billed: Mapping[str, int]

    @property
    def asked(self) -> Any:
        """The body that reached the sandbox, once."""
        [request] = self.heard
        return orjson.loads(request.body)

    @property
    def answer(self) -> Any:
        """The body of the reply."""
        assert self.reply.body is not None
        return orjson.loads(self.reply.body)

    @property
    def message(self) -> Any:
        """What the first choice says."""
        return self.answer["choices"][0]["message"]


class Witness(Sandbox):
    """A sandbox that keeps whatever it was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(behaviour)
        self.heard: list[Request] = []

    def handle(self, request: Request) -> Reaction:
        """What becomes of a request."""
        self.heard.append(request)
        return super().handle(request)


class Stage:
    """A sandbox and a provider for each way, in one event loop that runs while something is asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.sandbox = Witness(behaviour)
        self._runner = asyncio.Runner()
        self._server = Server(self.sandbox)
        self.address = self._runner.run(self._server.start()).removesuffix("/v1")
        self._made: dict[str, Provider] = {}

    def call(self, way: Way, call: Call) -> Met:
        """Make a call."""
        self.sandbox.heard.clear()
        before = self._sums()
        reply = self._runner.run(self._ask(way, lambda provider: provider.call(call)))
        billed = {name: total - before[name] for name, total in self._sums().items()}
        return Met(reply, [*self.sandbox.heard], billed)

    def probe(self, way: Way, account: int = 0) -> Probe:
        """Ask what costs nothing."""
        self.sandbox.heard.clear()
        return self._runner.run(self._ask(way, lambda provider: provider.probe(account=account)))

    @contextlib.contextmanager
    def broken(self, fault: str) -> Iterator[None]:
        """Let every call meet a fault."""
        self._order({fault: 1.0})
        try:
            yield
        finally:
            self._order({})

    def close(self) -> None:
        """Close the providers, then the sandbox."""
        for provider in self._made.values():
            self._runner.run(provider.close())
        self._runner.run(self._server.stop(grace_s=0.0))
        self._runner.close()

    async def _ask(self, way: Way, ask: Callable[[Provider], Awaitable[T]]) -> T:
        if way.name not in self._made:
            self._made[way.name] = way.make(self.address)
        return await ask(self._made[way.name])

    def _order(self, rates: Mapping[str, float]) -> None:
        body = orjson.dumps({"rates": rates})
        outcome = self.sandbox.handle(Request("POST", "/sandbox/faults", body, "", "")).outcome
        assert isinstance(outcome, Answer)
        assert outcome.status == 200

    def _sums(self) -> dict[str, int]:
        statement = self.sandbox.bill.statement()
        return {
            name: statement[name] for name in ("billed_calls", "input_tokens", "output_tokens", "cost_nanos")
        }


def elsewhere(way: Way, behave: Behave, use: Callable[[Provider], Awaitable[T]]) -> T:
    """What a use of a provider gives, at a server that behaves so."""

    async def run() -> T:
        async with misbehaving(behave) as address:
            return await _used(way, address, use)

    return asyncio.run(run())


def nowhere(way: Way, use: Callable[[Provider], Awaitable[T]]) -> T:
    """What a use of a provider gives where nobody listens."""

    async def run() -> T:
        async with misbehaving(answers(b"")) as address:
            pass
        return await _used(way, address, use)

    return asyncio.run(run())


async def _used(way: Way, address: str, use: Callable[[Provider], Awaitable[T]]) -> T:
    made = way.make(address.removesuffix("/v1"))
    try:
        return await use(made)
    finally:
        await made.close()
