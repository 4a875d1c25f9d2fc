"""Every provider that speaks OpenAI's wire: OpenAI itself, OpenRouter, Groq, vLLM, Ollama, the sandbox, ...

One pooled aiohttp session, bodies through byte for byte; the SDK costs several times the processor time a
call (wire-facts §5). What comes back is judged in `verdicts.py`.

What counts as sent: from the moment a connection is in hand, bytes may have gone out, so whatever goes wrong
afterwards is UNKNOWN. aiohttp sends a POST at most once (it repeats idempotent methods only), and neither
redirects nor cookies are followed.
"""

import asyncio
import io
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

from batchmill.errors import SettingsError
from batchmill.providers.base import Call, Reply
from batchmill.providers.verdicts import AnswerTooLargeError, Exchange, ReplyReader
from batchmill.requests.model import Endpoint

# Servers drop idle connections, uvicorn (vLLM and many others) after 5 s. One dropped just as we write
# makes an unknown attempt, so we drop it first.
_KEEPALIVE_S: Final = 4.0
_ONE_WRITE_BYTES: Final = 1 << 20


class Secret(Protocol):
    """A key that does not show itself, pydantic's `SecretStr` for instance."""

    def get_secret_value(self) -> str:
        """The key in clear."""
        ...


class OpenAICompatible:
    """A `Provider` on OpenAI's wire.

    Args:
        name: What routes, prices and messages call it.
        base_url: As the official SDK reads OPENAI_BASE_URL, version included, `https://api.openai.com/v1`
            for instance; `/chat/completions` and so on are added to it. A query is kept (Azure's
            `?api-version=`).
        api_key: Sent as a bearer token; "" sends no Authorization header, as local servers want it.
        organization: Whom to bill, for keys of several; "" leaves it to the provider.
        project: Likewise.
        concurrency: The most connections, hence calls at a time; further calls wait, on their own time.
        connect_timeout_s: Bounds the making of a connection, TLS included.
        max_answer_bytes: An answer longer than this, uncompressed, is dropped and its attempt unknown.
        clock: Seconds since the epoch.

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
        concurrency: int = 64,
        connect_timeout_s: float = 10.0,
        max_answer_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._urls = _addresses(name, base_url)
        key = _usable_key(name, api_key)
        self._reader = ReplyReader(name=name, key=key, clock=clock)
        self._concurrency = concurrency
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._max_answer_bytes = max_answer_bytes
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "batchmill",
        } | _account(key, organization, project)
        self._session: aiohttp.ClientSession | None = None

    async def call(self, call: Call) -> Reply:
        """Send one call and classify what comes back. Raises nothing but CancelledError.

        `call.timeout_s` bounds everything: waiting for a connection, dripping servers, the whole body.
        """
        exchange = Exchange()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(call.timeout_s):
                await self._exchange(call, exchange)
        except Exception as trouble:  # whatever it is, it must become a verdict
            exchange.trouble = trouble
        latency_ms = round((time.perf_counter() - started) * 1000)
        return self._reader.read(call.endpoint, exchange, latency_ms)

    async def close(self) -> None:
        """Close every connection; calls in flight end as unknown. A later call opens anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(_note_connection)
        tracing.on_connection_reuseconn.append(_note_connection)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency, keepalive_timeout=_KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=self._timeout,
            trace_configs=[tracing],
        )

    async def _exchange(self, call: Call, exchange: Exchange) -> None:
        if self._session is None:
            self._session = self._open()
        async with self._session.post(
            self._urls[call.endpoint],
            data=_payload(call.body),
            headers={"X-Client-Request-Id": call.client_request_id},
            allow_redirects=False,
            trace_request_ctx=exchange,
        ) as response:
            exchange.status, exchange.headers = response.status, response.headers
            exchange.body = await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        room = self._max_answer_bytes
        async for chunk in response.content.iter_any():
            room -= len(chunk)
            if room < 0:
                raise AnswerTooLargeError(f"it is larger than {self._max_answer_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


def _payload(body: bytes) -> bytes | io.BytesIO:
    # aiohttp writes bytes in one go, and warns of it above 1 MiB; a file it writes piece by piece.
    return body if len(body) <= _ONE_WRITE_BYTES else io.BytesIO(body)


async def _note_connection(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    context.trace_request_ctx.connected = True


def _addresses(name: str, base_url: str) -> Mapping[Endpoint, URL]:
    """The URL of every endpoint: the base, and the endpoint without its `/v1`."""
    hint = "give it as the OpenAI SDK reads OPENAI_BASE_URL, https://api.openai.com/v1 for instance"
    try:
        base = URL(base_url.strip())
    except ValueError as error:
        raise SettingsError(f"the base URL of {name} is not a URL", hint) from error
    if base.scheme not in ("http", "https") or not base.host:
        raise SettingsError(f"the base URL of {name} is not an http(s) address", hint)
    if base.user or base.password:
        raise SettingsError(f"the base URL of {name} holds a user or password", "give the key as its API key")
    path = base.raw_path.rstrip("/")
    return {
        endpoint: base.with_path(path + endpoint.removeprefix("/v1"), encoded=True, keep_query=True)
        for endpoint in Endpoint
    }


def _account(key: str, organization: str, project: str) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {key}" if key else "",
        "OpenAI-Organization": organization,
        "OpenAI-Project": project,
    }
    return {name: value for name, value in headers.items() if value}


def _usable_key(name: str, api_key: str | Secret) -> str:
    key = (api_key if isinstance(api_key, str) else api_key.get_secret_value()).strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsError(
            f"the API key of {name} holds a character no key has", "copy it anew, in one line"
        )
    return key
