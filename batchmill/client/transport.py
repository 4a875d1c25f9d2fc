"""Takes the steps of `steps.py` over HTTP: one class that waits, one that awaits. Nothing else here knows httpx2."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx2

from batchmill.client.steps import (
    Answer,
    Emit,
    Flow,
    LostError,
    NotReachedError,
    Open,
    Opened,
    Read,
    Request,
    Send,
    Sleep,
    Step,
    Steps,
)
from batchmill.client.uploads import Upload
from batchmill.settings.values import LOCAL_HOSTS

T = TypeVar("T")

CONNECT_S = 10.0
_KEEPALIVE_S = 4.0
"""uvicorn drops idle connections after 5 s; one dropped just as we write would lose a call."""


def _options(url: str, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
    return {
        "base_url": url,
        "headers": headers,
        "timeout": httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
        "limits": httpx2.Limits(max_connections=None, keepalive_expiry=_KEEPALIVE_S),
        # No proxy leads to this machine itself, whatever the environment says.
        "trust_env": urlsplit(url).hostname not in LOCAL_HOSTS,
    }


def _built(client: httpx2.Client | httpx2.AsyncClient, request: Request) -> httpx2.Request:
    query = {name: str(value) for name, value in request.query.items() if value is not None}
    content: Any = request.content
    if isinstance(content, Upload):  # httpx2 must not see that it could be read in both ways
        content = aiter(content) if isinstance(client, httpx2.AsyncClient) else iter(content)
    return client.build_request(
        request.method, request.path, params=query or None, headers=request.headers, content=content
    )


def _answer(response: httpx2.Response, body: bytes = b"") -> Answer:
    return Answer(status=response.status_code, headers=dict(response.headers), body=body)


def _trouble(error: httpx2.TransportError) -> Exception:
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return NotReachedError(reason)
    if isinstance(error, httpx2.TimeoutException):
        return LostError("it was silent for longer than timeout_s")
    return LostError(reason)


class _Walk(Generic[T]):
    """A way through steps.

    Attributes:
        opened: What has to be closed at its end.
        result: What the steps return, once they have.
    """

    result: T

    def __init__(self, steps: Generator[Any, Any, T]) -> None:
        self.opened: list[Opened] = []
        self._steps = steps
        self._came: Any = None
        self._trouble: BaseException | None = None

    def step(self) -> Any:
        """The next step, after what came of the last; None at the end."""
        came, trouble = self._came, self._trouble
        self._came = self._trouble = None
        try:
            return self._steps.send(came) if trouble is None else self._steps.throw(trouble)
        except StopIteration as end:
            self.result = end.value
            return None

    def came(self, value: Any) -> None:
        """This came of the last step."""
        self._came = value
        if isinstance(value, Opened):
            self.opened.append(value)

    def failed(self, error: BaseException) -> None:
        """The last step failed; an interrupt, too, has to end what the steps have begun."""
        self._trouble = error


class Transport:
    """Takes steps, waiting. Several threads may share one.

    Args:
        url: The service's address.
        headers: Go with every request.
        timeout_s: The longest that the service may be silent.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self.url = url
        self._client = httpx2.Client(**_options(url, headers, timeout_s))

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def take(self, steps: Steps[T]) -> T:
        """Take the steps to their end; what they return."""
        walk = _Walk(steps)
        while (step := walk.step()) is not None:
            try:
                walk.came(self._do(step))
            except BaseException as error:
                walk.failed(error)
        return walk.result

    def flow(self, flow: Flow[T]) -> Iterator[T]:
        """Take the steps as results are asked for; what has been opened is closed at the end, also an early one."""
        walk = _Walk(flow)
        try:
            while (step := walk.step()) is not None:
                if isinstance(step, Emit):
                    yield step.value
                    continue
                try:
                    walk.came(self._do(step))
                except BaseException as error:
                    walk.failed(error)
        finally:
            flow.close()
            for one in walk.opened:
                one.pieces.close()

    def _do(self, step: Step) -> Any:
        match step:
            case Send(request):
                return self._send(request)
            case Open(request):
                return self._open(request)
            case Read(opened):
                return opened.pieces.read()
            case Sleep(seconds):
                time.sleep(seconds)
                return None

    def _send(self, request: Request) -> Answer:
        try:
            response = self._client.send(_built(self._client, request))
        except httpx2.TransportError as error:
            raise _trouble(error) from error
        return _answer(response, response.content)

    def _open(self, request: Request) -> Opened:
        try:
            response = self._client.send(_built(self._client, request), stream=True)
            if not response.is_success:
                response.read()
        except httpx2.TransportError as error:
            raise _trouble(error) from error
        body = b"" if response.is_success else response.content
        return Opened(_answer(response, body), _Pieces(response))


class _Pieces:
    """The body of an answer, piece by piece."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces = response.iter_bytes()

    def read(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except httpx2.TransportError as error:
            raise _trouble(error) from error

    def close(self) -> None:
        self._response.close()


class AsyncTransport:
    """Takes steps, awaiting; see `Transport`. For one event loop."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self.url = url
        self._client = httpx2.AsyncClient(**_options(url, headers, timeout_s))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def take(self, steps: Steps[T]) -> T:
        """Take the steps to their end; what they return."""
        walk = _Walk(steps)
        while (step := walk.step()) is not None:
            try:
                walk.came(await self._do(step))
            except BaseException as error:
                walk.failed(error)
        return walk.result

    async def flow(self, flow: Flow[T]) -> AsyncGenerator[T, None]:
        """Take the steps as results are asked for; what has been opened is closed at the end, also an early one."""
        walk = _Walk(flow)
        try:
            while (step := walk.step()) is not None:
                if isinstance(step, Emit):
                    yield step.value
                    continue
                try:
                    walk.came(await self._do(step))
                except BaseException as error:
                    walk.failed(error)
        finally:
            flow.close()
            for one in walk.opened:
                await one.pieces.close()

    async def _do(self, step: Step) -> Any:
        match step:
            case Send(request):
                return await self._send(request)
            case Open(request):
                return await self._open(request)
            case Read(opened):
                return await opened.pieces.read()
            case Sleep(seconds):
                await asyncio.sleep(seconds)
                return None

    async def _send(self, request: Request) -> Answer:
        try:
            response = await self._client.send(_built(self._client, request))
        except httpx2.TransportError as error:
            raise _trouble(error) from error
        return _answer(response, response.content)

    async def _open(self, request: Request) -> Opened:
        try:
            response = await self._client.send(_built(self._client, request), stream=True)
            if not response.is_success:
                await response.aread()
        except httpx2.TransportError as error:
            raise _trouble(error) from error
        body = b"" if response.is_success else response.content
        return Opened(_answer(response, body), _AsyncPieces(response))


class _AsyncPieces:
    """The body of an answer, piece by piece."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces = response.aiter_bytes()

    async def read(self) -> bytes:
        try:
            return await anext(self._pieces, b"")
        except httpx2.TransportError as error:
            raise _trouble(error) from error

    async def close(self) -> None:
        await self._response.aclose()
