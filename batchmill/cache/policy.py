"""Which requests may use an answer given before, and which answers are worth keeping."""

from collections.abc import Mapping
from typing import Any

import orjson

from batchmill.providers.answers import COMPLETE
from batchmill.providers.base import Reply, Verdict
from batchmill.requests.model import CacheMode, Endpoint

_DETERMINISTIC = frozenset({Endpoint.EMBEDDINGS, Endpoint.MODERATIONS})
_INSISTS = {CacheMode.ON: True, CacheMode.OFF: False}
_NO_REASON = frozenset({""})  # they do not say why they ended
_REFUSALS_THAT_LAST = frozenset({400, 404, 413, 422})


def may_share(body: Mapping[str, Any], mode: CacheMode, endpoint: Endpoint) -> bool:
    """Tell whether a request may be answered by an answer given to another, and lend its own, in its batch's mode.

    A request for variety may not, unless its batch insists. `refresh` shares too, yet only what was answered
    since its batch began; the look-up sees to that.
    """
    insisted = _INSISTS.get(mode)
    if insisted is not None:
        return insisted
    return not wants_variety(body) or endpoint in _DETERMINISTIC


def wants_variety(body: Mapping[str, Any]) -> bool:
    """Tell whether a request itself asks for answers that differ: n > 1, or temperature > 0 without a seed.

    A temperature that is not given says nothing, although the provider's default is not 0.
    """
    return _above(body.get("n"), 1) or (_above(body.get("temperature"), 0) and body.get("seed") is None)


def _above(value: Any, limit: int) -> bool:
    return isinstance(value, (int, float)) and value > limit


def storable(reply: Reply, endpoint: Endpoint) -> bool:
    """Tell whether a reply is a whole answer with something in it.

    A cut-off or filtered answer is not, nor is one that does not say why it ended where its endpoint does.
    Whether it came from the model asked for is the caller's to know.
    """
    if reply.verdict is not Verdict.ANSWERED or not reply.body:
        return False
    if reply.finish_reason not in (_NO_REASON if endpoint in _DETERMINISTIC else COMPLETE):
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


def keep_s(reply: Reply, endpoint: Endpoint, *, ttl_s: float, refusal_ttl_s: float) -> float:
    """Return for how many seconds a reply may stand in for a call; 0 is not at all.

    Args:
        ttl_s: Life of a whole answer of this request type.
        refusal_ttl_s: Life of a refusal that would be repeated.
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
