"""What came in: one HTTP request, whole."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Request(NamedTuple):
    """One request, whole.

    Attributes:
        path: Without its query, as it came: still percent-encoded.
        query: What stands behind the question mark; "" for nothing.
        request_id: Ours, sent back with the answer.
        client_request_id: The `X-Client-Request-Id` it came with; "" when it had none.
        headers: Those that some wire looks at, by their name in lower case.
    """

    method: str
    path: str
    body: bytes
    request_id: str
    client_request_id: str
    query: str = ""
    headers: Mapping[str, str] = NO_HEADERS
    keep_alive: bool = True
