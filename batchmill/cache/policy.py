"""Which requests may use an answer given before, and which answers are worth keeping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchmill.providers.base import Reply, Verdict
from batchmill.requests.model import CacheMode, Endpoint

REFUSAL_TTL_S = 300
"""How long a refusal is remembered: enough to spare a batch the repeats, too short to hide a repair."""

_DETERMINISTIC = frozenset({Endpoint.EMBEDDINGS, Endpoint.MODERATIONS})
_COMPLETE: Mapping[Endpoint, frozenset[str]] = {
    Endpoint.CHAT: frozenset({"stop", "tool_calls", "function_call"}),
    Endpoint.COMPLETIONS: frozenset({"stop"}),
    Endpoint.RESPONSES: frozenset({"completed"}),
    Endpoint.EMBEDDINGS: frozenset({""}),
    Endpoint.MODERATIONS: frozenset({""}),
}
_REFUSALS_THAT_LAST = frozenset({400, 404, 413, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """What the cache may do for one request.

    Attributes:
        read: An answer given before may be used.
        write: A new answer may be kept for others.
        fresh_only: Of the answers given before, only those made since the batch began.
    """

    read: bool
    write: bool
    fresh_only: bool = False


_FULL = Reuse(read=True, write=True)
_NONE = Reuse(read=False, write=False)
_FRESH = Reuse(read=True, write=True, fresh_only=True)
_WRITE = Reuse(read=False, write=True)


def reuse(body: Mapping[str, Any], mode: CacheMode, endpoint: Endpoint) -> Reuse:
    """Return what the cache may do for a request, in the mode its batch asked for.

    `refresh` asks anew, yet a line that repeats another of the same batch, or is delivered again, takes the
    new answer (`fresh_only`); a request for variety takes none.
    """
    if mode is CacheMode.ON:
        return _FULL
    if mode is CacheMode.OFF:
        return _NONE
    varied = endpoint not in _DETERMINISTIC and wants_variety(body)
    if mode is CacheMode.REFRESH:
        return _WRITE if varied else _FRESH
    return _NONE if varied else _FULL


def wants_variety(body: Mapping[str, Any]) -> bool:
    """Tell whether a request itself asks for answers that differ: n > 1, or temperature > 0 without a seed.

    A temperature that is not given says nothing, although the provider's default is not 0.
    """
    return _above(body.get("n"), 1) or (_above(body.get("temperature"), 0) and body.get("seed") is None)


def _above(value: Any, limit: int) -> bool:
    return isinstance(value, int | float) and value > limit


def storable(reply: Reply, endpoint: Endpoint) -> bool:
    """Tell whether a reply is a whole answer with something in it.

    A cut-off or filtered answer is not, nor is one that does not say why it ended where its endpoint does.
    Whether it came from the model asked for is the caller's to know.
    """
    if reply.verdict is not Verdict.ANSWERED or reply.finish_reason not in _COMPLETE[endpoint]:
        return False
    if not reply.body:
        return False
    try:
        return _has_content(orjson.loads(reply.body), endpoint)
    except (orjson.JSONDecodeError, AttributeError, LookupError, TypeError):
        return False  # no answer of this endpoint, whatever its finish reason


def refusal_lasts(reply: Reply) -> bool:
    """Tell whether the same request would be refused again within minutes: 400, 404, 413 or 422.

    Never an account that is blocked, a limit, a fault of the provider, or a call without an answer.
    """
    return reply.verdict is Verdict.REFUSED and reply.status_code in _REFUSALS_THAT_LAST


def keep_s(reply: Reply, endpoint: Endpoint, *, ttl_s: int, refusal_ttl_s: int = REFUSAL_TTL_S) -> int:
    """Return for how many seconds a reply may stand in for a call; 0 is not at all.

    Args:
        ttl_s: Life of a whole answer of this request type.
    """
    if storable(reply, endpoint):
        return ttl_s
    return refusal_ttl_s if refusal_lasts(reply) else 0


def _has_content(answer: Any, endpoint: Endpoint) -> bool:
    """Tell whether every part of an answer has something in it. Raises when it has another shape."""
    if endpoint is Endpoint.MODERATIONS:
        return bool(answer["results"])
    if endpoint is Endpoint.EMBEDDINGS:
        return bool(answer["data"]) and all(item["embedding"] for item in answer["data"])
    if endpoint is Endpoint.RESPONSES:
        return any(_item_has_content(item) for item in answer["output"])
    choices = answer["choices"]
    if endpoint is Endpoint.COMPLETIONS:
        return bool(choices) and all(choice["text"] for choice in choices)
    return bool(choices) and all(_message_has_content(choice["message"]) for choice in choices)


def _message_has_content(message: Mapping[str, Any]) -> bool:
    parts = ("content", "tool_calls", "function_call", "refusal", "audio")
    return any(message.get(part) for part in parts)


def _item_has_content(item: Mapping[str, Any]) -> bool:
    """Tell whether an output item is a message with words or a call; thinking alone is no answer."""
    if item.get("type") == "message":
        return any(part.get("text") or part.get("refusal") for part in item["content"])
    return item.get("type") != "reasoning"
