"""Gemini through the official SDK, `google-genai`, in place of our own HTTP client.

What it would do by itself and must not, as a call is sent at most once: repeat a request whose connection was
lost (it does over aiohttp, retries off or not), go on by itself where an answer says CONTINUATION, call functions.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from batchmill.providers.base import Call
from batchmill.providers.gemini import transport
from batchmill.providers.gemini.wire import BASE_URL, GeminiWire
from batchmill.providers.http import MOST_ANSWER_BYTES
from batchmill.providers.wire import Secret, UntranslatableError
from batchmill.requests.model import Endpoint

_EXTRA = "gemini"


class GeminiSdk(transport.Transport):
    """A `Provider`: `google-genai`, asynchronous. Made and used in one event loop.

    Args:
        name: What messages call the provider.
        base_url: As the SDK reads GOOGLE_GEMINI_BASE_URL, without a version.
        api_keys: At least one.
        concurrency: The most calls at a time.
        max_answer_bytes: See `Transport`.

    Raises:
        SettingsError: The URL or a key cannot be used, or the SDK is not installed.
    """

    def __init__(
        self,
        *,
        name: str = "gemini",
        base_url: str = BASE_URL,
        api_keys: Sequence[str | Secret] = (),
        api_version: str = "v1beta",
        concurrency: int = 64,
        connect_timeout_s: float = 10.0,
        max_answer_bytes: int = MOST_ANSWER_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        genai = transport.library("google.genai", _EXTRA)
        self._httpx = transport.library("httpx2", _EXTRA)
        self._types = transport.library("google.genai.types", _EXTRA)
        wire = GeminiWire(
            name=name, base_url=base_url, api_keys=api_keys, api_version=api_version, clock=clock
        )
        super().__init__(wire=wire, concurrency=concurrency, max_answer_bytes=max_answer_bytes, clock=clock)
        self._http = self._httpx.AsyncClient(
            timeout=self._httpx.Timeout(None, connect=connect_timeout_s),
            limits=self._httpx.Limits(max_connections=concurrency, keepalive_expiry=4.0),
            event_hooks={"request": [_go_out], "response": [self._take_down]},
        )
        self._clients = [
            genai.Client(vertexai=False, api_key=key, http_options=self._options(wire)) for key in wire.keys
        ]

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    def _options(self, wire: GeminiWire) -> Any:
        return self._types.HttpOptions(
            base_url=str(wire.base),
            api_version=wire.api_version,
            httpx_async_client=self._http,
            retry_options=self._types.HttpRetryOptions(attempts=1),
        )

    def _prepared(self, call: Call) -> Any:
        request = transport.translated(call)
        try:
            if call.endpoint is Endpoint.EMBEDDINGS:
                return self._embedding(request)
            return self._generation(request)
        except ValueError as error:  # pydantic's is one
            raise UntranslatableError("body", f"is not taken by google-genai: {error}") from error

    def _generation(self, request: dict[str, Any]) -> Any:
        config = {name: value for name, value in request.items() if name in _CONFIGURED}
        return request["contents"], self._types.GenerateContentConfig.model_validate(
            request.get("generationConfig", {})
            | config
            | {
                "shouldReturnHttpResponse": True,
                "automaticContinuation": False,
                "automaticFunctionCalling": {"disable": True},
            }
        )

    def _embedding(self, request: dict[str, Any]) -> Any:
        texts = [each["content"]["parts"][0]["text"] for each in request["requests"]]
        size = request["requests"][0].get("outputDimensionality")
        contents = [{"parts": [{"text": text}]} for text in texts]
        return contents, self._types.EmbedContentConfig(output_dimensionality=size)

    async def _send(self, call: Call, prepared: Any) -> object:
        contents, config = prepared
        config.http_options = self._types.HttpOptions(
            headers={"X-Client-Request-Id": call.client_request_id},
            timeout=max(1, round(call.timeout_s * 1000)),
        )
        models = self._clients[call.account].aio.models
        ask = models.embed_content if call.endpoint is Endpoint.EMBEDDINGS else models.generate_content
        return await self._made(ask(model=call.model, contents=contents, config=config))

    async def _list_models(self, account: int, timeout_s: float) -> object:
        return await self._made(self._clients[account].aio.models.list(config={"page_size": 1}))

    async def _take_down(self, response: Any) -> None:
        transport.take_down(response.status_code, response.headers)
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > self._most_bytes:
                raise transport.too_large(self._most_bytes)
        response._content = bytes(body)  # for the SDK: httpx2 reads a body without a bound, or once
        transport.take_down_body(response.content)

    async def _made(self, asking: Any) -> object:
        try:
            return await asking
        except self._httpx.RemoteProtocolError as error:
            raise transport.lost(error) from error
        except (self._httpx.ReadError, self._httpx.WriteError) as error:
            raise ConnectionResetError(str(error) or "the connection was reset") from error
        except self._httpx.ReadTimeout as error:
            raise TimeoutError from error

    def _never_sent(self, trouble: Exception) -> bool:
        return isinstance(
            trouble, (self._httpx.ConnectError, self._httpx.ConnectTimeout, self._httpx.PoolTimeout)
        )


_CONFIGURED = frozenset({"systemInstruction", "tools", "toolConfig"})


async def _go_out(request: Any) -> None:
    transport.go_out()
