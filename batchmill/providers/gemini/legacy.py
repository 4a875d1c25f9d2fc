"""Gemini through the SDK that ended in 2025, `google-generativeai`, for whoever cannot leave it.

It is called over REST in threads: asynchronous over REST it fails after sending. Requests are the SDK's own
messages, so what they have no field for is an error that names it (see `legacy_words.py`). What it loses of answers
is not lost here (see `transport.py`); where an answer passes through it alone, thinking is recovered from the total.
"""

import asyncio
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from enum import IntEnum
from typing import Any, Final

import orjson

from batchmill.errors import SettingsError
from batchmill.providers.base import Call
from batchmill.providers.gemini import models, transport
from batchmill.providers.gemini.legacy_words import own_words
from batchmill.providers.gemini.wire import BASE_URL, GeminiWire
from batchmill.providers.http import MOST_ANSWER_BYTES
from batchmill.providers.wire import Secret, UntranslatableError
from batchmill.requests.model import Endpoint

_EXTRA: Final = "gemini-legacy"
_PIECE_BYTES: Final = 64 * 1024


class GeminiLegacy(transport.Transport):
    """A `Provider`: `google-generativeai`, a thread a call. Speaks v1beta only.

    Args:
        name: What messages call the provider.
        base_url: As the SDK's `api_endpoint`, without a version.
        api_keys: At least one.
        concurrency: The most calls, hence threads, at a time.
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
        concurrency: int = 16,
        max_answer_bytes: int = MOST_ANSWER_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that all support has ended: whoever chose it knows
            self._protos = transport.library("google.generativeai", _EXTRA).protos
            self._language = transport.library("google.ai.generativelanguage_v1beta", _EXTRA)
        self._json = transport.library("google.protobuf.json_format", _EXTRA)
        self._requests = transport.library("requests", _EXTRA)
        self._urllib3 = transport.library("urllib3.exceptions", _EXTRA)
        wire = GeminiWire(name=name, base_url=base_url, api_keys=api_keys, clock=clock)
        if wire.base.raw_query_string:
            raise SettingsError(
                f"the base URL of {name} holds a query, which google-generativeai cannot send",
                "leave it out, or call Gemini over http",
            )
        super().__init__(wire=wire, concurrency=concurrency, max_answer_bytes=max_answer_bytes, clock=clock)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="gemini-legacy")
        address = str(wire.base).rstrip("/")
        self._clients = [self._client(address, key) for key in wire.keys]
        self._listers = [self._client(address, key, "ModelServiceClient") for key in wire.keys]

    async def close(self) -> None:
        """Close every connection; calls in flight end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in (*self._clients, *self._listers):
            client.transport.close()

    def _client(self, address: str, key: str, kind: str = "GenerativeServiceClient") -> Any:
        client = getattr(self._language, kind)(
            transport="rest", client_options={"api_key": key, "api_endpoint": address}
        )
        session = client.transport._session
        session._refresh_status_codes = ()  # it would send a request again that was answered 401
        session.max_redirects = 0
        session.hooks["response"].append(self._take_down)
        return client

    def _take_down(self, response: Any, *args: Any, **options: Any) -> None:
        transport.take_down(response.status_code, response.headers)
        body = bytearray()
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > self._most_bytes:
                response.close()
                raise transport.too_large(self._most_bytes)
        response._content = bytes(body)  # for the SDK: requests reads a body without a bound, or once
        transport.take_down_body(self._in_words(response.content))

    def _in_words(self, body: bytes) -> bytes:
        """An answer with its enums as words: this SDK asks for them as numbers."""
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        if not isinstance(answer, dict):
            return body
        for candidate in _objects(answer.get("candidates")):
            _name(candidate, "finishReason", self._protos.Candidate.FinishReason)
        for feedback in _objects([answer.get("promptFeedback")]):
            _name(feedback, "blockReason", self._protos.GenerateContentResponse.PromptFeedback.BlockReason)
        for usage in _objects([answer.get("usageMetadata")]):
            for detail in (detail for details in usage.values() for detail in _objects(details)):
                _name(detail, "modality", _Modality)
        try:
            return orjson.dumps(answer)
        except orjson.JSONEncodeError:  # nested so deeply that it is no answer, but it may name its usage
            return body

    def _prepared(self, call: Call) -> Any:
        request = transport.translated(call)
        if call.endpoint is Endpoint.EMBEDDINGS:
            return self._message("BatchEmbedContentsRequest", request, call.model)
        return self._message("GenerateContentRequest", own_words(request), call.model)

    def _message(self, kind: str, request: Mapping[str, Any], model: str) -> Any:
        message = getattr(self._protos, kind)()
        try:
            self._json.ParseDict({"model": models.path(model)} | dict(request), message._pb)
        except self._json.ParseError as error:
            raise UntranslatableError("body", f"is not taken by google-generativeai: {error}") from error
        return message

    async def _send(self, call: Call, prepared: Any) -> object:
        client = self._clients[call.account]
        embedding = call.endpoint is Endpoint.EMBEDDINGS
        ask = client.batch_embed_contents if embedding else client.generate_content
        told = [("x-client-request-id", call.client_request_id)]
        return await self._in_thread(
            lambda: ask(request=prepared, timeout=call.timeout_s, retry=None, metadata=told)
        )

    async def _list_models(self, account: int, timeout_s: float) -> object:
        lister = self._listers[account]
        return await self._in_thread(
            lambda: lister.list_models(request={"page_size": 1}, timeout=timeout_s, retry=None)
        )

    async def _in_thread(self, ask: Callable[[], object]) -> object:
        def send() -> object:
            return ask() if transport.go_out() else None

        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, copy_context().run, send)
        except self._requests.Timeout as error:
            if isinstance(error, self._requests.ConnectTimeout):
                raise
            raise TimeoutError from error
        except (self._requests.ConnectionError, self._requests.exceptions.ChunkedEncodingError) as error:
            if self._never_sent(error):
                raise
            if "ConnectionResetError" in repr(error):
                raise ConnectionResetError("the connection was reset") from error
            raise transport.lost(error) from error

    def _never_sent(self, trouble: Exception) -> bool:
        return isinstance(trouble, self._requests.ConnectTimeout) or (
            isinstance(trouble, self._requests.ConnectionError)
            and isinstance(_reason(trouble), self._urllib3.NewConnectionError)  # a name not found is one, too
        )


def _reason(trouble: Exception) -> object:
    """What was behind it: requests has no word of its own for that."""
    return getattr(trouble.args[0], "reason", None) if trouble.args else None


class _Modality(IntEnum):
    """As the API numbers them; this SDK knows none."""

    TEXT = 1
    IMAGE = 2
    VIDEO = 3
    AUDIO = 4
    DOCUMENT = 5


def _name(holder: dict[str, Any], field: str, words: Any) -> None:
    """Put a number's word in its place; a number that this SDK does not know yet is told as it is."""
    if type(number := holder.get(field)) is int:
        holder[field] = next(
            (word.name for word in words if word.value == number), f"{field.upper()}_{number}"
        )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())
