"""What the vendor's SDKs have in common as transports: they carry the wire's requests in place of our own client.

A hook in the SDK's HTTP client takes down what came back as it was on the wire, before the SDK reads it: so
nothing that it does not know is lost, and answers, usage and verdicts are those of plain HTTP.

Honest weakness: an SDK does not tell when a connection is in hand, so a call is taken as sent once its HTTP client
has it, unless it failed to connect; and a call costs ten times the processor time (wire-facts §5).
"""

import asyncio
import importlib
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from batchmill.errors import SettingsError
from batchmill.providers.base import Call, Probe, Reply, Verdict
from batchmill.providers.connection import (
    AnswerTooLargeError,
    BrokenAnswerError,
    DisconnectedError,
    Exchange,
    WireError,
)
from batchmill.providers.gemini import ask
from batchmill.providers.gemini.wire import GeminiWire
from batchmill.providers.http import MOST_ANSWER_BYTES, UNSUPPORTED
from batchmill.providers.verdicts import ReplyReader
from batchmill.providers.wire import UntranslatableError

UNDER_WAY: ContextVar[Exchange] = ContextVar("batchmill_gemini_exchange")
"""The exchange of the call that this task or thread makes."""


class Transport:
    """A `Provider` whose calls an SDK makes; each is sent at most once.

    Args:
        wire: What is said.
        concurrency: The most calls at a time; further ones wait, on their own time.
        max_answer_bytes: An answer longer than this, uncompressed, is dropped and its attempt unknown.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        wire: GeminiWire,
        concurrency: int,
        max_answer_bytes: int = MOST_ANSWER_BYTES,
        clock: Callable[[], float],
    ) -> None:
        if not all(wire.keys):
            raise SettingsError(f"{wire.name} has no API key", "its SDK sends nothing without one")
        self.name = wire.name
        self._wire = wire
        self._reader = ReplyReader(wire=wire, keys=wire.keys, clock=clock)
        self._slots = asyncio.Semaphore(concurrency)
        self._most_bytes = max_answer_bytes

    def fault(self, call: Call) -> UntranslatableError | None:
        """What this provider cannot be asked of a call; None when it can be sent."""
        try:
            self._prepared(call)
        except UntranslatableError as error:
            return error
        return None

    async def call(self, call: Call) -> Reply:
        """Send one call and classify what comes back. Raises nothing but CancelledError."""
        try:
            prepared = self._prepared(call)
        except UntranslatableError as error:
            return Reply(verdict=Verdict.REFUSED, error_code=UNSUPPORTED, error_message=str(error))
        exchange, latency_ms = await self._carry(lambda: self._send(call, prepared), call.timeout_s)
        if isinstance(exchange.trouble, ValueError) and not exchange.connected:
            message = f"'body' is not taken by the SDK of {self.name}: {exchange.trouble}"
            return Reply(verdict=Verdict.REFUSED, error_code=UNSUPPORTED, error_message=message)
        return self._reader.read(call.endpoint, exchange, latency_ms)

    async def probe(self, *, account: int = 0, timeout_s: float = 10.0) -> Probe:
        """Ask what costs nothing. Raises nothing but CancelledError."""
        exchange, latency_ms = await self._carry(lambda: self._list_models(account, timeout_s), timeout_s)
        return self._reader.read_probe(exchange, latency_ms)

    async def close(self) -> None:
        """Close every connection."""
        raise NotImplementedError

    def _prepared(self, call: Call) -> Any:
        """A call as the SDK takes it. Raises UntranslatableError."""
        raise NotImplementedError

    async def _send(self, call: Call, prepared: Any) -> object:
        """Have the SDK make a call."""
        raise NotImplementedError

    async def _list_models(self, account: int, timeout_s: float) -> object:
        """Have the SDK list the models."""
        raise NotImplementedError

    def _never_sent(self, trouble: Exception) -> bool:
        """Whether what the SDK raised means that no connection was made."""
        raise NotImplementedError

    async def _carry(self, send: Callable[[], Any], timeout_s: float) -> tuple[Exchange, int]:
        exchange = Exchange()
        UNDER_WAY.set(exchange)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                await send()
        except BaseException as trouble:  # whatever it is, it must become a verdict
            exchange.is_given_up = True  # before `connected` is looked at: a thread may be about to send
            if not isinstance(trouble, Exception):
                raise
            exchange.connected = exchange.connected and not self._never_sent(trouble)
            exchange.trouble = trouble
        return exchange, round((time.perf_counter() - started) * 1000)


def go_out() -> bool:
    """Note that from here on the request of the exchange under way may have been sent; False if it must not be."""
    exchange = UNDER_WAY.get()
    exchange.connected = True
    return not exchange.is_given_up


def take_down(status: int, headers: Mapping[str, str]) -> None:
    """Write what an answer begins with into the exchange under way."""
    exchange = UNDER_WAY.get()
    exchange.headers = {name.lower(): value for name, value in headers.items()}
    exchange.status = status


def take_down_body(body: bytes) -> None:
    """Write the rest of it, now that it is whole."""
    UNDER_WAY.get().body = body


def too_large(most_bytes: int) -> AnswerTooLargeError:
    """What is raised of an answer that is longer than that."""
    return AnswerTooLargeError(f"it is larger than {most_bytes} bytes")


def translated(call: Call) -> dict[str, Any]:
    """The wire's request, known to be JSON. Raises UntranslatableError."""
    request = ask.translate(call.endpoint, call.model, call.body)
    ask.dump(request)
    return request


def lost(trouble: Exception) -> WireError:
    """An SDK's word for a connection that was closed too early, in ours."""
    if UNDER_WAY.get().status is not None:
        return BrokenAnswerError(str(trouble) or "it closed the connection in the middle of its answer")
    return DisconnectedError(str(trouble) or "it closed the connection without an answer")


def library(name: str, extra: str) -> Any:
    """A module of an SDK, imported when it is first needed.

    Raises:
        SettingsError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SettingsError(f"{name} is not installed", f"pip install 'batchmill[{extra}]'") from error
