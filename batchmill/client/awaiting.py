"""`AsyncClient` and `AsyncBatch`: the same client for asyncio, which awaits what it asks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from batchmill.client import batches
from batchmill.client.connecting import DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, connecting
from batchmill.client.errors import ServiceUnreachableError
from batchmill.client.orders import SubmitOptions, generated, order_of, text_body
from batchmill.client.results import Result
from batchmill.client.views import BatchView, GeneratedText, Quote
from batchmill.client.waiting import waited

if TYPE_CHECKING:
    from batchmill.client.steps import Flow, Steps
    from batchmill.client.transport import AsyncTransport

T = TypeVar("T")
Requests = Iterable[object] | AsyncIterable[object] | str | Path


class AsyncClient:
    """Hands requests to a batchmill service, and brings their answers back, on one event loop.

    Arguments and errors are those of `Client`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_retries: int = DEFAULT_RETRIES,
        embedded: bool | None = None,
    ) -> None:
        self._connecting = connecting(base_url, api_key, timeout_s, max_retries, embedded)
        self._max_retries = max_retries
        self._transport: AsyncTransport | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Batches and the service go on; a later call connects anew."""
        async with self._lock:
            if self._transport is not None:
                await self._transport.close()
                self._transport = None

    async def connect(self) -> str:
        """Find the service, or start that of the home; where it is. The first call does the same.

        Raises:
            EmbeddedServiceError: That of the home does not start.
        """
        return (await self._connected()).url

    async def submit(
        self,
        requests: Requests,
        *,
        priority: str = "normal",
        budget_usd: Decimal | str | float | None = None,
        on_budget: str | None = None,
        job_name: str = "",
        model: str = "",
        request_type: str = "",
        cache: str = "auto",
        fallback: Sequence[str] = (),
        user: str = "",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        webhook_url: str | None = None,
        endpoint: str | None = None,
        idempotency_key: str | None = None,
        system_prompt: str = "",
        prompt: str = "",
        id_column: str = "",
    ) -> "AsyncBatch":
        """Hand requests in as one batch: see `Client.submit`, whose arguments and errors these are.

        Requests may come from an asynchronous iterator, too. An ordinary one is read on the event loop, so it should
        not wait for anything.
        """
        order = order_of(
            requests,
            priority=priority,
            budget_usd=budget_usd,
            on_budget=on_budget,
            job_name=job_name,
            model=model,
            request_type=request_type,
            cache=cache,
            fallback=fallback,
            user=user,
            completion_window=completion_window,
            metadata=metadata,
            webhook_url=webhook_url,
            endpoint=endpoint,
            system_prompt=system_prompt,
            prompt=prompt,
            id_column=id_column,
        )
        return AsyncBatch(
            self, await self._take(batches.submitted(order, idempotency_key, self._max_retries))
        )

    async def quote(self, requests: Requests, **options: Unpack[SubmitOptions]) -> Quote:
        """What these requests would cost as a batch: see `Client.quote`."""
        return await self._take(batches.quoted(order_of(requests, **options), self._max_retries))

    async def batch(self, batch_id: str) -> "AsyncBatch":
        """The batch of that id, as it is now.

        Raises:
            UnknownIdError: There is none, or it is somebody else's.
        """
        return AsyncBatch(self, await self._take(batches.batch_of(batch_id, self._max_retries)))

    async def batches(self, most: int | None = None) -> AsyncIterator["AsyncBatch"]:
        """Your batches, newest first, fetched page by page as they are asked for."""
        async with aclosing(self._flow(batches.listed(self._max_retries, most))) as listed:
            async for raw in listed:
                yield AsyncBatch(self, raw)

    async def generate_text(
        self,
        request_type: str = "",
        prompt: str = "",
        options: Mapping[str, Any] | None = None,
        selection_mode: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        user: str | None = None,
        *,
        system_prompt: str = "",
    ) -> GeneratedText:
        """Ask one prompt now: see `Client.generate_text`, whose arguments and errors these are."""
        body = text_body(
            prompt=prompt,
            system_prompt=system_prompt,
            request_type=request_type,
            options=options,
            selection_mode=selection_mode,
            provider=provider,
            model=model,
            user=user,
        )
        return await self._take(generated(body, self._max_retries))

    async def _take(self, steps: "Steps[T]") -> T:
        try:
            return await (await self._connected()).take(steps)
        except ServiceUnreachableError:
            await self._forget()
            raise

    async def _flow(self, flow: "Flow[T]") -> AsyncGenerator[T, None]:
        try:
            async with aclosing((await self._connected()).flow(flow)) as values:
                async for value in values:
                    yield value
        except ServiceUnreachableError:
            await self._forget()
            raise

    async def _connected(self) -> "AsyncTransport":
        async with self._lock:
            if self._transport is None:
                from batchmill.client.transport import AsyncTransport

                made = self._connecting
                self._transport = AsyncTransport(
                    await asyncio.to_thread(made.address), made.headers(), made.timeout_s
                )
            return self._transport

    async def _forget(self) -> None:
        """The service of the home may have gone, and the next one listen elsewhere."""
        if self._connecting.is_embedded:
            await self.close()


class AsyncBatch(BatchView):
    """A batch of an `AsyncClient`: as it was when it was looked at last, and what can be done with it."""

    def __init__(self, client: AsyncClient, raw: Mapping[str, Any]) -> None:
        super().__init__(raw)
        self._client = client

    async def refresh(self) -> Self:
        """Look at it anew; the same object."""
        return await self._told(batches.batch_of(self.id, self._client._max_retries))

    async def wait(
        self, progress: bool = True, timeout_s: float | None = None, poll_s: float | None = None
    ) -> Self:
        """Wait until it has ended; the same object. See `Batch.wait`, whose arguments and errors these are.

        Cancelled, it leaves the batch as it is: that goes on.
        """
        from batchmill.client.progress import Progress, Silence

        shown = Progress() if progress else Silence()
        retries = self._client._max_retries
        try:
            return await self._told(
                waited(self.raw, show=shown.show, max_retries=retries, timeout_s=timeout_s, poll_s=poll_s)
            )
        finally:
            shown.close()

    def results(self, partial: bool = False) -> AsyncIterator[Result]:
        """Its results in the order of its requests, or what there is of them: see `Batch.results`.

        Who stops before the end may close it at once with `contextlib.aclosing`.
        """
        retries = self._client._max_retries
        if partial:
            return self._client._flow(batches.results_so_far(self.id, retries))
        return self._client._flow(batches.results_of(self.raw, retries))

    def stream(self, poll_s: float | None = None) -> AsyncIterator[Result]:
        """Its results as they end: see `Batch.stream`."""
        return self._client._flow(batches.results_as_they_end(self.id, self._client._max_retries, poll_s))

    def raise_for_failures(self) -> Self:
        """Nothing, where every request is answered; the same object. See `Batch.raise_for_failures`."""
        batches.all_answered(self.raw)
        return self

    async def cancel(self) -> Self:
        """End it early; the same object. What was answered stays, calls under way may still be.

        Raises:
            StateError: It has ended by itself.
        """
        return await self._told(batches.steered(self.id, "cancel", self._client._max_retries))

    async def pause(self) -> Self:
        """Let no new call of it start; the same object. Those under way finish."""
        return await self._told(batches.steered(self.id, "pause", self._client._max_retries))

    async def resume(self) -> Self:
        """Let it go on; the same object."""
        return await self._told(batches.steered(self.id, "resume", self._client._max_retries))

    async def _told(self, steps: "Steps[dict[str, Any]]") -> Self:
        self.raw = await self._client._take(steps)
        return self
