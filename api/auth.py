"""Who calls, as routes ask for it: a route's parameter says whom it is for."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from api.errors import ApiError
from workers.serving.keys import Caller, Scope
from workers.serving.service import Service

__all__ = ["Admin", "Caller", "Producer", "Scope", "Service", "Serving", "require", "service_of"]

TOLD_HEADERS = "told_headers"
"""Where a request's state has what its answer is to carry, whatever that is."""
_bearer = HTTPBearer(auto_error=False, description="An API key: `batchmill keys create` makes one.")


async def service_of(request: Request) -> Service:
    """What the app serves."""
    service: Service = request.app.state.service
    return service


async def caller_of(request: Request, _: Annotated[object, Security(_bearer)]) -> Caller:
    """Whose request it is, as `api.door` has found out; the bearer is for the OpenAPI document."""
    caller: Caller = request.state.caller
    return caller


def require(scope: Scope) -> Callable[[Caller], object]:
    """A dependency: the caller, who has at least that scope."""

    async def allowed(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if not caller.may(scope):
            raise ApiError(
                403,
                "insufficient_permissions",
                f"This takes a key of scope {scope}; yours is of {caller.scope}.",
            )
        return caller

    allowed.scope = scope  # type: ignore[attr-defined] # for whoever lists what routes ask for
    return allowed


Producer = Annotated[Caller, Depends(require(Scope.PRODUCER))]
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]
Serving = Annotated[Service, Depends(service_of)]
