"""`Client` and `Batch`: the client for ordinary programs, which waits for what it asks."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    from batchmill.client.transport import Transport

T = TypeVar("T")
Requests = Iterable[object] | str | Path


class Client:
    """Hands requests to a batchmill service, and brings their answers back. Threads may share one.

    Nothing is connected before the first call. Without an address, here or in BATCHMILL_BASE_URL, the service of this
    machine's home answers; if there is none yet it is started, goes on when this program ends, and says so once.

    Args:
        base_url: Where the service is: `http://host:8400`.
        api_key: The key that it gave you; default BATCHMILL_API_KEY. The service of the home wants none.
        timeout_s: The longest that the service may be silent in a call.
        max_retries: So often is a call tried again that may be: after a lost connection, or when the service asks to.
        embedded: True for the service of the home, whatever address is set; False for never that one.

    Raises:
        SettingsError: The address or the key cannot be one.
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
        self._transport: Transport | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Batches and the service go on; a later call connects anew."""
        with self._lock:
            if self._transport is not None:
                self._transport.close()
                self._transport = None

    def connect(self) -> str:
        """Find the service, or start that of the home; where it is. The first call does the same.

        Raises:
            EmbeddedServiceError: That of the home does not start.
        """
        return self._connected().url

    def submit(
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
    ) -> "Batch":
        """Hand requests in as one batch; it is answered whether this program goes on or not.

        They are sent as they are made: a generator of any length takes no memory. A request is a prompt (a string), a
        plain dict (`{"id": ..., "prompt": ...}`), the body of a call (`{"messages": [...]}`), or a line of OpenAI's
        batch format (`{"custom_id": ..., "body": {...}}`). One without a name of its own is called by its number.

        Args:
            requests: A list or any iterator of requests, or the path of a file: OpenAI's format, plain lines, CSV.
            priority: high, normal or low.
            budget_usd: The most that all its calls may cost.
            on_budget: At the limit of any budget: pause until there is room, reject the rest, or downgrade to cheaper
                models.
            job_name: What you call it.
            model: For requests that name none: MODEL, PROVIDER/MODEL, or auto.
            request_type: What kind of questions these are.
            cache: auto, on, off or refresh.
            fallback: Whom to ask when a model does not answer, in this order.
            user: Whose requests these are.
            completion_window: After this it ends, answered or not: 1h to 30d.
            metadata: At most 16 texts of yours, by name.
            webhook_url: Is told when it has ended.
            endpoint: Which one is asked; default `/v1/chat/completions`, or what the lines say.
            idempotency_key: The same requests under the same key make one batch, however often submitted within
                a day. Without one, too, a call that is tried again makes one batch.
            system_prompt: For prompts and plain dicts without one.
            prompt: For a file with data: a template, `Summarise {text}`.
            id_column: For such a file: where its rows have their names.

        Raises:
            InvalidLinesError: A request is none; the message says which. Nothing was submitted.
            InputError: There is no request, or no such file.
            ApiError: The service refuses it.
            ServiceUnreachableError: There is no service.
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
        return Batch(self, self._take(batches.submitted(order, idempotency_key, self._max_retries)))

    def quote(self, requests: Requests, **options: Unpack[SubmitOptions]) -> Quote:
        """What these requests would cost as a batch, expected and at most; nothing is asked, nothing is kept.

        Options and errors are those of `submit`; a generator is used up by it.
        """
        return self._take(batches.quoted(order_of(requests, **options), self._max_retries))

    def batch(self, batch_id: str) -> "Batch":
        """The batch of that id, as it is now.

        Raises:
            UnknownIdError: There is none, or it is somebody else's.
        """
        return Batch(self, self._take(batches.batch_of(batch_id, self._max_retries)))

    def batches(self, most: int | None = None) -> Iterator["Batch"]:
        """Your batches, newest first, fetched page by page as they are asked for."""
        for raw in self._flow(batches.listed(self._max_retries, most)):
            yield Batch(self, raw)

    def generate_text(
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
        """Ask one prompt now: `text, provider = client.generate_text(prompt="...")`.

        It goes the way of every request: cache, budgets, limits, fallbacks, ledger.

        Args:
            request_type: What kind of question it is; it matters to the choice of a model, and to reports.
            options: More fields of the call: `{"temperature": 0, "max_tokens": 200}`.
            selection_mode: auto leaves the choice of a model to the service (the default where none is named); manual
                asks the one that is named.
            provider: Whose model it is; default as its name says.
            user: Who asks.

        Raises:
            BudgetExceededError: A budget has no room for it.
            ApiError: The service or the provider refuses it.
            ServiceUnreachableError: There is no service, or it fell silent. The answer may have been paid for; where
                the cache may be used it is in there.
        """
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
        return self._take(generated(body, self._max_retries))

    def _take(self, steps: "Steps[T]") -> T:
        try:
            return self._connected().take(steps)
        except ServiceUnreachableError:
            self._forget()
            raise

    def _flow(self, flow: "Flow[T]") -> Iterator[T]:
        try:
            yield from self._connected().flow(flow)
        except ServiceUnreachableError:
            self._forget()
            raise

    def _connected(self) -> "Transport":
        with self._lock:
            if self._transport is None:
                from batchmill.client.transport import Transport

                made = self._connecting
                self._transport = Transport(made.address(), made.headers(), made.timeout_s)
            return self._transport

    def _forget(self) -> None:
        """The service of the home may have gone, and the next one listen elsewhere."""
        if self._connecting.is_embedded:
            self.close()


class Batch(BatchView):
    """A batch of a `Client`: as it was when it was looked at last, and what can be done with it."""

    def __init__(self, client: Client, raw: Mapping[str, Any]) -> None:
        super().__init__(raw)
        self._client = client

    def refresh(self) -> Self:
        """Look at it anew; the same object."""
        return self._told(batches.batch_of(self.id, self._client._max_retries))

    def wait(
        self, progress: bool = True, timeout_s: float | None = None, poll_s: float | None = None
    ) -> Self:
        """Wait until it has ended; the same object. It may have ended with requests that failed.

        Interrupted (Ctrl-C) it goes on without us. A restart of the service is waited through.

        Args:
            progress: Show how far it is on standard error: a bar on a terminal, else a line now and then.
            timeout_s: How long; None for as long as it takes.
            poll_s: The longest time between two looks at it.

        Raises:
            BatchFailedError: It was not accepted; with every bad line.
            WaitTimeoutError: It has not ended in time. It goes on.
            ServiceUnreachableError: The service is away, for minutes.
        """
        from batchmill.client.progress import Progress, Silence, say

        shown = Progress() if progress else Silence()
        retries = self._client._max_retries
        try:
            return self._told(
                waited(self.raw, show=shown.show, max_retries=retries, timeout_s=timeout_s, poll_s=poll_s)
            )
        except KeyboardInterrupt:
            shown.close()
            say(f'{self.id} goes on; client.batch("{self.id}") finds it again, .cancel() ends it')
            raise
        finally:
            shown.close()

    def results(self, partial: bool = False) -> Iterator[Result]:
        """Its results in the order of its requests, answered or failed, read as they stream by.

        Args:
            partial: Those there are by now, in the order in which they ended, of a batch that goes on.

        Raises:
            NotEndedError: It has not ended, and not all of it was asked for.
            BatchFailedError: It was not accepted.
        """
        retries = self._client._max_retries
        if partial:
            return self._client._flow(batches.results_so_far(self.id, retries))
        return self._client._flow(batches.results_of(self.raw, retries))

    def stream(self, poll_s: float | None = None) -> Iterator[Result]:
        """Its results as they end, each once, until the batch has; not in the order of its requests.

        Raises:
            BatchFailedError: It was not accepted.
        """
        return self._client._flow(batches.results_as_they_end(self.id, self._client._max_retries, poll_s))

    def raise_for_failures(self) -> Self:
        """Nothing, where every request is answered; the same object.

        Raises:
            RequestsFailedError: Some have no answer.
            BatchFailedError: It was not accepted.
            NotEndedError: It has not ended, as far as we know: `wait` or `refresh` looks.
        """
        batches.all_answered(self.raw)
        return self

    def cancel(self) -> Self:
        """End it early; the same object. What was answered stays, calls under way may still be.

        Raises:
            StateError: It has ended by itself.
        """
        return self._told(batches.steered(self.id, "cancel", self._client._max_retries))

    def pause(self) -> Self:
        """Let no new call of it start; the same object. Those under way finish."""
        return self._told(batches.steered(self.id, "pause", self._client._max_retries))

    def resume(self) -> Self:
        """Let it go on; the same object."""
        return self._told(batches.steered(self.id, "resume", self._client._max_retries))

    def _told(self, steps: "Steps[dict[str, Any]]") -> Self:
        self.raw = self._client._take(steps)
        return self
