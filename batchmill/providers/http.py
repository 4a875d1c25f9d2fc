"""Every provider that is called over HTTP, whatever its wire: one pool of connections, each call sent at most once.

Calls go over a pool of connections of our own (`pool.py`); the SDKs cost many times the processor time a call
(wire-facts §5). What comes back is judged in `verdicts.py`.

What counts as sent: from the moment a connection is in hand, bytes may have gone out, so whatever goes wrong
afterwards is UNKNOWN. A request is sent at most once, and neither redirects nor cookies are followed.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from batchmill.providers.base import Call, Listener, Probe, Reply, Verdict
from batchmill.providers.connection import Exchange
from batchmill.providers.pool import Pool
from batchmill.providers.streaming import Stream, ask_for_pieces
from batchmill.providers.verdicts import MALFORMED, ReplyReader
from batchmill.providers.wire import UntranslatableError, Wire

MOST_ANSWER_BYTES = 64 * 1024 * 1024
log = structlog.get_logger()

UNSUPPORTED = "unsupported_parameter"


class HttpProvider:
    """A `Provider` on some wire.

    Args:
        wire: How it is spoken to, where, and with which keys; they are scrubbed from whatever is shown.
        concurrency: The most connections, hence calls at a time; further calls wait, on their own time.
        connect_timeout_s: Bounds the making of a connection, TLS included.
        max_answer_bytes: An answer longer than this, uncompressed, is dropped and its attempt unknown.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        wire: Wire,
        concurrency: int = 64,
        connect_timeout_s: float = 10.0,
        max_answer_bytes: int = MOST_ANSWER_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = wire.name
        self._wire = wire
        self._reader = ReplyReader(wire=wire, keys=wire.keys, clock=clock)
        self._pool = Pool(
            wire.base.origin(),
            most=concurrency,
            connect_timeout_s=connect_timeout_s,
            most_bytes=max_answer_bytes,
        )

    def fault(self, call: Call) -> UntranslatableError | None:
        """What this provider cannot be asked of a call; None when it can be sent."""
        try:
            self._wire.write(call)
        except UntranslatableError as error:
            return error
        return None

    async def call(self, call: Call) -> Reply:
        """Send one call and classify what comes back. Raises nothing but CancelledError.

        `call.timeout_s` bounds everything: waiting for a connection, dripping servers, the whole body.
        """
        if call.listener is not None and call.endpoint in self._wire.streams:
            return await self._stream(call, call.listener)
        try:
            request = self._wire.write(call)
        except UntranslatableError as error:
            return Reply(verdict=Verdict.REFUSED, error_code=UNSUPPORTED, error_message=str(error))
        exchange = Exchange(may_go=call.may_go)
        latency_ms = await self._carry(request, exchange, call.timeout_s)
        return self._read(call, exchange, latency_ms)

    async def _stream(self, call: Call, listener: Listener) -> Reply:
        """The same for an answer that is wanted in pieces; it is put together, and judged as a whole."""
        stream = Stream(call.endpoint, listener)
        stream.exchange.may_go = call.may_go
        body = ask_for_pieces(call.endpoint, call.body, listener.options)
        request = self._wire.write(replace(call, body=body))
        latency_ms = await self._carry(request, stream.exchange, call.timeout_s)
        stream.end()
        reply = self._read(call, stream.exchange, latency_ms)
        # Something has been written by then, and may be billed, whatever the error says that came after it.
        is_lost = listener.has_begun and reply.verdict is not Verdict.ANSWERED
        return replace(reply, verdict=Verdict.UNKNOWN) if is_lost else reply

    def _read(self, call: Call, exchange: Exchange, latency_ms: int) -> Reply:
        try:
            return self._reader.read(call.endpoint, exchange, latency_ms)
        except Exception as error:  # an answer stranger than any we know must not end the worker's pump
            log.error("answer_not_read", provider=self.name, error=type(error).__name__)
            return Reply(
                verdict=Verdict.UNKNOWN,
                status_code=exchange.status,
                error_code=MALFORMED,
                error_message=f"{self.name} says it answered, but its answer cannot be read",
                latency_ms=latency_ms,
            )

    async def probe(self, *, account: int = 0, timeout_s: float = 10.0) -> Probe:
        """Ask what costs nothing. Raises nothing but CancelledError."""
        exchange = Exchange()
        latency_ms = await self._carry(self._wire.probe(account), exchange, timeout_s)
        return self._reader.read_probe(exchange, latency_ms)

    async def close(self) -> None:
        """Close every connection; calls in flight end as unknown. A later call opens anew."""
        self._pool.close()
        await asyncio.sleep(0)  # a turn of the loop, in which the connections are let go

    async def _carry(self, request: bytes, exchange: Exchange, timeout_s: float) -> int:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                await self._pool.carry(request, exchange)
        except Exception as trouble:  # whatever it is, it must become a verdict
            exchange.trouble = trouble
        return round((time.perf_counter() - started) * 1000)
