"""When two requests are the same request: one key for both, and never one key for two that differ.

The key is SHA-256 over the whole resolved request, its content untouched: no lower-casing ("C++" is not "c"),
no folding of spaces (code has indentation), the order of lists kept. Only the order of fields does not count.
Lists of allowed fields go wrong (they miss `reasoning_effort`, `tools`), so the list here is of denied ones,
at the top level only, and a field in doubt stays in.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson

from batchmill.requests.model import Endpoint

KEY_VERSION = 1
"""Another version, other keys: raise it whenever what goes into a key changes."""

_HOW_IT_TRAVELS = frozenset(
    {
        "stream",  # the same answer, in pieces
        "stream_options",  # what those pieces say besides it
        "timeout",  # how long a client waits; no field of any provider
        "request_timeout",  # the same in older clients
        "traceparent",  # W3C trace context: which span asked
        "tracestate",  # the same, vendors' part
    }
)
_WHO_ASKS = frozenset(
    {
        "user",  # an end user's id, for abuse detection; the model does not see it
        "safety_identifier",  # the same under its newer name
        "metadata",  # the caller's labels, kept beside a stored completion
        "prompt_cache_key",  # where the provider keeps the prefix: changes the price, not the answer
        "prompt_cache_retention",  # how long it stays there: likewise
    }
)
# Considered and kept in the key: `store` (whether the answer's id can be used later), `service_tier` (who was
# promised what, and at what price), `seed`, `n`, `logprobs`, `background`, `include`, `truncation`, and every
# field we do not know.
_DENIED: Mapping[Endpoint, frozenset[str]] = {
    # The Responses API writes the caller's own fields back into its answer, so there they are part of it.
    endpoint: _HOW_IT_TRAVELS if endpoint is Endpoint.RESPONSES else _HOW_IT_TRAVELS | _WHO_ASKS
    for endpoint in Endpoint
}


class RequestKeys:
    """Makes the keys of what one tenant asks of one endpoint.

    Args:
        upstream: Who is asked: two servers may know different models by one name.
    """

    def __init__(self, *, tenant: str, upstream: str, endpoint: Endpoint) -> None:
        self._denied = _DENIED[endpoint]
        # JSON has no bare line feed, so the head ends where it says and nothing can move across it.
        self._head = orjson.dumps((KEY_VERSION, tenant, upstream, endpoint.value)) + b"\n"

    def key(self, body: Mapping[str, Any]) -> bytes:
        """Return the 32 bytes that stand for a request.

        Args:
            body: The request as it would be sent, defaults and model resolved.

        Raises:
            TypeError: When the body is no JSON, as orjson has it.
        """
        content = body
        if not self._denied.isdisjoint(body):
            content = {field: value for field, value in body.items() if field not in self._denied}
        return sha256(self._head + orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def request_key(*, tenant: str, upstream: str, endpoint: Endpoint, body: Mapping[str, Any]) -> bytes:
    """Return the key of a single request; see `RequestKeys`."""
    return RequestKeys(tenant=tenant, upstream=upstream, endpoint=endpoint).key(body)
