"""The service over HTTP: every route, and what holds for all of them."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import batches, completions, files, health, results
from api.admin.router import router as admin
from api.auth import TOLD_HEADERS
from api.document import complete
from api.door import Door
from api.errors import answer_errors, error_response
from api.limits import BodyLimit, RequestLimit
from api.metrics import NO_ROUTE, measure
from batchmill.request_log import AccessLog
from batchmill.settings.groups import LogRequests
from batchmill.trace_parent import trace_parent
from workers.serving.desk import Desk
from workers.serving.service import Service

log = structlog.get_logger()

MOST_AT_A_TIME = 2_000
DESCRIPTION = """The batch API of OpenAI, for any provider: hand in files of requests, and collect the answers.

Whoever can use OpenAI's Batch API can use this by changing `base_url`."""


def make_app(service: Service) -> FastAPI:
    """The service as an ASGI app; whoever runs it closes the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Desk(service.settings).open() as desk:
            app.state.desk = desk
            yield

    app = FastAPI(
        title="batchmill",
        version=version("batchmill"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its pages load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in (files.router, batches.router, results.router, completions.router, admin, health.router):
        app.include_router(router)
    answer_errors(app)
    complete(app)
    limits = service.settings.service
    app.add_middleware(BodyLimit, most_bytes=limits.max_body_bytes, unless=("/v1/files",))
    app.add_middleware(Door, service=service, limit=RequestLimit(limits.key_rpm))
    which = service.settings.log.requests
    access = None if which is LogRequests.OFF else AccessLog(which)
    is_traced = service.settings.traces.url is not None
    # Outside of these: whatever is answered has one.
    app.add_middleware(RequestIds, access=access, is_traced=is_traced)
    measure(app, service)
    return app


class RequestIds:
    """Gives every request an id, which its answer and what is logged of it bear; and answers what nobody caught.

    Of more than so many at a time, it answers that the service is busy.

    Args:
        access: Logs how each was answered; None = nobody does.
        is_traced: Whether spans of calls are to be told whose request they are for.
    """

    def __init__(self, app: ASGIApp, access: AccessLog | None = None, *, is_traced: bool = False) -> None:
        self._app = app
        self._access = access
        self._is_traced = is_traced
        self._at_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        status: int | None = None
        begun_s = time.monotonic()
        if self._is_traced:
            trace_parent.set(Headers(scope=scope).get("traceparent", ""))

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = {"x-request-id": request_id, **scope["state"].get(TOLD_HEADERS, {})}
                more = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._answer(scope, receive, send_named, lambda: status is not None)
            finally:
                if self._access is not None:
                    route = getattr(scope.get("route"), "path", NO_ROUTE)
                    took_ms = int((time.monotonic() - begun_s) * 1000)
                    self._access.write(scope["method"], route, status, took_ms)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, has_begun: Callable[[], bool]
    ) -> None:
        if self._at_work >= MOST_AT_A_TIME:
            told = f"{MOST_AT_A_TIME:,} requests are being answered; try again in a while."
            busy = error_response(503, "overloaded", told, headers={"retry-after": "1"})
            await busy(scope, receive, send)
            return
        self._at_work += 1
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            log.exception("request_failed", path=scope["path"], error=f"{type(error).__name__}: {error}")
            if has_begun():
                raise
            told = f"Something went wrong on our side; the service's log knows more, by {scope['state']['request_id']}."
            await error_response(500, "internal_error", told)(scope, receive, send)
        finally:
            self._at_work -= 1
