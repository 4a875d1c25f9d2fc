"""Who calls: found out for every route, before anything else of it runs."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import ApiError
from api.origin import is_from_here
from workers.serving.keys import Caller, Scope
from workers.serving.service import Service

__all__ = ["Admin", "Caller", "Producer", "Scope", "Service", "Serving", "require", "service_of"]

TOLD_HEADERS = "told_headers"
"""Where a request's state has what its answer is to carry, whatever that is."""
LOCAL = Caller(tenant="local", scope=Scope.ADMIN)
"""Whoever calls on this machine a service that is for this machine only."""
_bearer = HTTPBearer(auto_error=False, description="An API key: `batchmill keys create` makes one.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def service_of(request: Request) -> Service:
    """What the app serves."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request, bearer: Bearer) -> Caller:
    """Whose request it is.

    Raises:
        ApiError: He shows no key, or none that is valid.
    """
    service = service_of(request)
    caller = service.keyring.caller_of(bearer.credentials) if bearer is not None else None
    if caller is None and service.is_keyless:
        _refuse_strangers(request)
        caller = LOCAL
    if caller is None:
        raise _no_key() if bearer is None else _wrong_key()
    standing = request.app.state.limit.take(caller.key_id)
    setattr(request.state, TOLD_HEADERS, standing.headers)
    if standing.is_refused:
        raise ApiError(429, "rate_limit_exceeded", standing.message)
    return caller


def require(scope: Scope) -> Callable[[Caller], Caller]:
    """A dependency: the caller, who has at least that scope."""

    def allowed(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if not caller.may(scope):
            raise ApiError(
                403,
                "insufficient_permissions",
                f"This takes a key of scope {scope}; yours is of {caller.scope}.",
            )
        return caller

    allowed.scope = scope  # type: ignore[attr-defined] # for whoever lists what routes ask for
    return allowed


def _refuse_strangers(request: Request) -> None:
    """Without keys, a page in somebody's browser must not be able to speak for him."""
    if not is_from_here(request.headers, service_of(request).settings.service.host):
        raise ApiError(
            403,
            "forbidden_origin",
            "This service takes no keys, so it answers this machine's programs only, and no web pages.",
        )


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


Producer = Annotated[Caller, Depends(require(Scope.PRODUCER))]
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]
Serving = Annotated[Service, Depends(service_of)]
