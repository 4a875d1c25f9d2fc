"""The door: who calls is found out before anything of a request is read, and counted."""

import hmac

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Call

from api.auth import TOLD_HEADERS
from api.errors import ApiError, response_to
from api.limits import RequestLimit
from api.origin import is_from_here
from batchmill.errors import BatchmillError
from workers.serving.keys import Caller, Scope
from workers.serving.service import Service

OPEN = frozenset({"/health/live", "/health/ready", "/openapi.json"})
"""What anybody may ask."""
METRICS = "/metrics"
WATCHER = Caller(tenant="metrics", scope=Scope.ADMIN)
"""Whoever shows the token for metrics; let in there and nowhere else."""
LOCAL = Caller(tenant="local", scope=Scope.ADMIN)
"""Whoever calls on this machine a service that is for this machine only."""


class Door:
    """Lets nobody further who may not call at all, or calls too often: a route cannot forget to ask.

    An ASGI middleware. It leaves the caller as `request.state.caller`, and how his key stands to its limit for the
    answer to tell. Bodies are not read before: a framework would, and take large ones from anybody.
    """

    def __init__(self, app: ASGIApp, *, service: Service, limit: RequestLimit) -> None:
        self._app = app
        self._service = service
        self._limit = limit

    async def __call__(self, scope: Call, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                caller = await self._caller(Headers(scope=scope), scope["path"])
                state = scope.setdefault("state", {})
                state["caller"] = caller
                if caller.key_id:
                    standing = self._limit.take(caller.key_id)
                    state[TOLD_HEADERS] = standing.headers
                    if standing.is_refused:
                        raise ApiError(429, "rate_limit_exceeded", standing.message)
            except (ApiError, BatchmillError) as error:
                await response_to(error, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, headers: Headers, path: str) -> Caller:
        token = _bearer(headers)
        if token is not None and path == METRICS and self._is_for_metrics(token):
            return WATCHER
        if token is not None:
            ring = self._service.keyring
            caller = ring.remembered(token) or await run_in_threadpool(ring.caller_of, token)
            if caller is not None:
                return caller
        if self._service.is_keyless:
            self._refuse_strangers(headers)
            return LOCAL
        raise _no_key() if token is None else _wrong_key()

    def _is_for_metrics(self, token: str) -> bool:
        expected = self._service.settings.metrics.token
        return expected is not None and hmac.compare_digest(
            token.encode(), expected.get_secret_value().encode()
        )

    def _refuse_strangers(self, headers: Headers) -> None:
        """Without keys, a page in somebody's browser must not be able to speak for him."""
        if not is_from_here(headers, self._service.settings.service.host):
            raise ApiError(
                403,
                "forbidden_origin",
                "This service takes no keys, so it answers this machine's programs only, and no web pages.",
            )


def _bearer(headers: Headers) -> str | None:
    """The key that is shown, whatever it is; None if there is none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return (token.strip() or None) if kind.lower() == "bearer" else None


def _no_key() -> ApiError:
    return ApiError(
        401,
        None,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer"
        " auth (i.e. Authorization: Bearer YOUR_KEY). `batchmill keys create` makes one.",
        headers={"www-authenticate": "Bearer"},
        kind="invalid_request_error",
    )


def _wrong_key() -> ApiError:
    return ApiError(
        401,
        "invalid_api_key",
        "Incorrect API key provided. It is unknown, revoked or expired; `batchmill keys list` shows which there are.",
        headers={"www-authenticate": "Bearer"},
        kind="invalid_request_error",
    )
