"""What producers import: the client, its results and its errors. Each is loaded when it is asked for.

So `import batchmill` costs nothing, and `from batchmill import Client` no more than the client needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.client.awaiting import AsyncBatch, AsyncClient
    from batchmill.client.blocking import Batch, Client
    from batchmill.client.errors import (
        ApiError,
        AuthenticationError,
        BatchFailedError,
        BudgetExceededError,
        EmbeddedServiceError,
        InvalidRequestError,
        LineFault,
        NotEndedError,
        PermissionDeniedError,
        RateLimitedError,
        RequestsFailedError,
        ServerError,
        ServiceUnreachableError,
        StateError,
        UnknownIdError,
        WaitTimeoutError,
    )
    from batchmill.client.results import RequestFault, Result
    from batchmill.client.views import Counts, GeneratedText, Quote
    from batchmill.errors import (
        BatchmillError,
        InputError,
        InvalidLinesError,
        MisuseError,
        NotFoundError,
        SettingsError,
    )

__all__ = [
    "ApiError",
    "AsyncBatch",
    "AsyncClient",
    "AuthenticationError",
    "Batch",
    "BatchFailedError",
    "BatchmillError",
    "BudgetExceededError",
    "Client",
    "Counts",
    "EmbeddedServiceError",
    "GeneratedText",
    "InputError",
    "InvalidLinesError",
    "InvalidRequestError",
    "LineFault",
    "MisuseError",
    "NotEndedError",
    "NotFoundError",
    "PermissionDeniedError",
    "Quote",
    "RateLimitedError",
    "RequestFault",
    "RequestsFailedError",
    "Result",
    "ServerError",
    "ServiceUnreachableError",
    "SettingsError",
    "StateError",
    "UnknownIdError",
    "WaitTimeoutError",
]

_MODULES = {
    "AsyncBatch": "client.awaiting",
    "AsyncClient": "client.awaiting",
    "Batch": "client.blocking",
    "BatchmillError": "errors",
    "Client": "client.blocking",
    "Counts": "client.views",
    "GeneratedText": "client.views",
    "InputError": "errors",
    "InvalidLinesError": "errors",
    "MisuseError": "errors",
    "NotFoundError": "errors",
    "Quote": "client.views",
    "RequestFault": "client.results",
    "Result": "client.results",
    "SettingsError": "errors",
}
"""Where they are; the others are errors of the client."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'client.errors')}"), name)
