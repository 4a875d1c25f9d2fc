"""Every provider that speaks OpenAI's wire: OpenAI itself, OpenRouter, Groq, vLLM, Ollama, the sandbox, ...

Bodies go through byte for byte over a pool of connections of our own (`pool.py`); the SDK costs many times the
processor time a call (wire-facts §5). What comes back is judged in `verdicts.py`.

What counts as sent: from the moment a connection is in hand, bytes may have gone out, so whatever goes wrong
afterwards is UNKNOWN. A request is sent at most once, and neither redirects nor cookies are followed.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from yarl import URL

from batchmill.errors import SettingsError
from batchmill.providers.base import Call, Reply
from batchmill.providers.connection import Exchange
from batchmill.providers.pool import Pool
from batchmill.providers.verdicts import ReplyReader
from batchmill.requests.model import Endpoint


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
        base = _base(name, base_url)
        key = _usable_key(name, api_key)
        self._heads = {
            endpoint: _head(base, endpoint, _account(name, key, organization, project))
            for endpoint in Endpoint
        }
        self._reader = ReplyReader(name=name, key=key, clock=clock)
        self._pool = Pool(
            base.origin(),
            most=concurrency,
            connect_timeout_s=connect_timeout_s,
            most_bytes=max_answer_bytes,
        )

    async def call(self, call: Call) -> Reply:
        """Send one call and classify what comes back. Raises nothing but CancelledError.

        `call.timeout_s` bounds everything: waiting for a connection, dripping servers, the whole body.
        """
        exchange = Exchange()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(call.timeout_s):
                await self._pool.carry(self._request(call), exchange)
        except Exception as trouble:  # whatever it is, it must become a verdict
            exchange.trouble = trouble
        latency_ms = round((time.perf_counter() - started) * 1000)
        return self._reader.read(call.endpoint, exchange, latency_ms)

    async def close(self) -> None:
        """Close every connection; calls in flight end as unknown. A later call opens anew."""
        self._pool.close()
        await asyncio.sleep(0)  # a turn of the loop, in which the connections are let go

    def _request(self, call: Call) -> bytes:
        own = f"X-Client-Request-Id: {call.client_request_id}\r\nContent-Length: {len(call.body)}\r\n\r\n"
        return b"".join((self._heads[call.endpoint], own.encode("ascii"), call.body))


def _base(name: str, base_url: str) -> URL:
    hint = "give it as the OpenAI SDK reads OPENAI_BASE_URL, https://api.openai.com/v1 for instance"
    try:
        base = URL(base_url.strip())
    except ValueError as error:
        raise SettingsError(f"the base URL of {name} is not a URL", hint) from error
    if base.scheme not in ("http", "https") or not base.host:
        raise SettingsError(f"the base URL of {name} is not an http(s) address", hint)
    if base.user or base.password:
        raise SettingsError(f"the base URL of {name} holds a user or password", "give the key as its API key")
    return base


def _head(base: URL, endpoint: Endpoint, account: dict[str, str]) -> bytes:
    """What every request to an endpoint begins with. Its path is the base's and the endpoint's without its `/v1`."""
    path = base.raw_path.rstrip("/") + endpoint.removeprefix("/v1")
    target = base.with_path(path, encoded=True, keep_query=True).raw_path_qs
    headers = {
        "Host": base.host_port_subcomponent or "",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": "batchmill",
    } | account
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _account(name: str, key: str, organization: str, project: str) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {key}" if key else "",
        "OpenAI-Organization": organization,
        "OpenAI-Project": project,
    }
    for header, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise SettingsError(
                f"{header} of {name} holds a character no header has", "copy it anew, in one line"
            )
    return {header: value for header, value in headers.items() if value}


def _usable_key(name: str, api_key: str | Secret) -> str:
    key = (api_key if isinstance(api_key, str) else api_key.get_secret_value()).strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsError(
            f"the API key of {name} holds a character no key has", "copy it anew, in one line"
        )
    return key
