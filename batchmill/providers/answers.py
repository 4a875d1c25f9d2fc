"""What an answer in OpenAI's shapes holds: the usage it is billed by, why it ended, which model gave it.

Facts: wire-facts §3 and the official SDK's types. Providers that speak OpenAI's wire leave fields out, null
them or send them as text; nothing here raises, and what cannot be read counts as not said.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from json import dumps, loads
from typing import Any, Final

import orjson

from batchmill.money.usage import Usage
from batchmill.requests.model import Endpoint

COMPLETE: Final = frozenset({"stop", "tool_calls", "function_call"})
"""The finish reasons of a whole answer."""

_MOST_TOKENS: Final = 10**12
_MOST_USD: Final = 10**6
_USD_PLACES: Final = 18
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# The field without which an answer is none, by endpoint.
_SUBSTANCE: Final[Mapping[Endpoint, str]] = {
    Endpoint.CHAT: "choices",
    Endpoint.COMPLETIONS: "choices",
    Endpoint.EMBEDDINGS: "data",
    Endpoint.MODERATIONS: "results",
    Endpoint.RESPONSES: "output",
}
_ENDED: Final = frozenset({"", "completed", "incomplete"})


def parse(body: bytes) -> tuple[Any, bytes]:
    """The JSON value of a body, and the body as valid JSON: the same bytes wherever they were valid.

    Lone surrogates (half an emoji, cut by a token limit) and bytes that are not UTF-8 become U+FFFD, NaN and
    infinities null: a blemish does not lose an answer that was paid for.

    Raises:
        ValueError: It is not JSON, or is cut short.
    """
    try:
        return orjson.loads(body), body
    except orjson.JSONDecodeError:
        pass
    try:
        value = loads(body.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)
        text = _LONE_SURROGATE.sub("\ufffd", dumps(value, ensure_ascii=False, separators=(",", ":")))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    repaired = text.encode()
    return orjson.loads(repaired), repaired


def is_answer(endpoint: Endpoint, answer: Mapping[str, Any]) -> bool:
    """Whether the answer is finished and holds the list that its endpoint answers with.

    An empty `output` of the Responses API is one: a model may spend its whole limit on thinking. A response
    still `queued` or `in_progress` (background mode), `failed` or `cancelled` is none.
    """
    substance = answer.get(_SUBSTANCE[endpoint])
    if endpoint is Endpoint.RESPONSES:
        return isinstance(substance, list) and _word(answer.get("status")) in _ENDED
    return isinstance(substance, list) and bool(substance)


def is_empty(endpoint: Endpoint, answer: Mapping[str, Any]) -> bool:
    """Whether a chat's answer ended well and has nothing in it, no call of a tool either."""
    if endpoint is not Endpoint.CHAT:
        return False
    choices = answer["choices"]
    return not any(isinstance(choice, dict) and _says_something(choice) for choice in choices)


def read_usage(endpoint: Endpoint, answer: Mapping[str, Any]) -> Usage | None:
    """The tokens an answer used; None when the endpoint counts tokens and the answer does not say.

    Moderations cost nothing and count nothing. Where `total_tokens` exceeds input and output together, the
    surplus is output: so xAI and Gemini count thinking on OpenAI's wire (inferred, not documented by all).
    Subsets are cut to their whole. OpenAI's 30-minute cache writes are put under 5 minutes and the 12-hour
    ones under 1 hour. The cost, where it is told, is told by OpenRouter.
    """
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return Usage() if endpoint is Endpoint.MODERATIONS else None
    cost = _cost(usage)
    input_, output = _totals(endpoint, usage)
    if input_ is None or output is None:
        if cost is None:
            return Usage() if endpoint is Endpoint.MODERATIONS else None
        input_, output = input_ or 0, output or 0
    inner = _details(usage, "prompt_tokens_details", "input_tokens_details")
    outer = _details(usage, "completion_tokens_details", "output_tokens_details")
    cached = min(_count(inner.get("cached_tokens")) or 0, input_)
    written = min(_count(inner.get("cache_write_tokens")) or 0, input_ - cached)
    long_lived = _count(_details(inner, "cache_write_tokens_details").get("ttl_12h_tokens")) or 0
    long_lived = min(long_lived, written)
    return Usage(
        input_tokens=input_,
        cached_tokens=cached,
        cache_write_5m_tokens=written - long_lived,
        cache_write_1h_tokens=long_lived,
        output_tokens=output,
        reasoning_tokens=min(_count(outer.get("reasoning_tokens")) or 0, output),
        audio_input_tokens=min(_count(inner.get("audio_tokens")) or 0, input_),
        audio_output_tokens=min(_count(outer.get("audio_tokens")) or 0, output),
        reported_cost_usd=cost,
    )


def read_finish_reason(endpoint: Endpoint, answer: Mapping[str, Any]) -> str:
    """Why the answer ended, in the words of chat completions; "" when it does not say.

    Of several choices the first that is not complete. A response is `stop` or `tool_calls` when completed;
    incomplete for its tokens it is `length`; else its own reason or status.
    """
    if endpoint is Endpoint.RESPONSES:
        return _end_of_response(answer)
    if endpoint not in (Endpoint.CHAT, Endpoint.COMPLETIONS):
        return ""
    choices = answer.get("choices")
    reasons = [
        _word(choice.get("finish_reason")) if isinstance(choice, dict) else ""
        for choice in (choices if isinstance(choices, list) else [])
    ]
    return next((reason for reason in reasons if reason not in COMPLETE), reasons[0] if reasons else "")


def read_model(answer: Mapping[str, Any]) -> str:
    """The model that the answer says gave it; "" when it does not say."""
    return _word(answer.get("model"))


def _says_something(choice: Mapping[str, Any]) -> bool:
    message = choice.get("message")
    if not isinstance(message, dict) or message.get("content"):
        return True  # nearly always
    is_whole = _word(choice.get("finish_reason")) in COMPLETE
    return not is_whole or any(
        message.get(part) for part in ("tool_calls", "function_call", "refusal", "audio")
    )


def _end_of_response(answer: Mapping[str, Any]) -> str:
    status = _word(answer.get("status"))
    if status == "completed":
        output = answer.get("output")
        items = output if isinstance(output, list) else []
        called = any(isinstance(i, dict) and _word(i.get("type")).endswith("_call") for i in items[-1:])
        return "tool_calls" if called else "stop"
    if status == "incomplete":
        reason = _word(_details(answer, "incomplete_details").get("reason"))
        return "length" if reason == "max_output_tokens" else reason or status
    return status


def _totals(endpoint: Endpoint, usage: Mapping[str, Any]) -> tuple[int | None, int | None]:
    input_ = _first_count(usage, "prompt_tokens", "input_tokens")
    output = _first_count(usage, "completion_tokens", "output_tokens")
    total = _count(usage.get("total_tokens"))
    if endpoint is Endpoint.EMBEDDINGS:
        return (total if input_ is None else input_), output or 0
    if input_ is not None and total is not None and total >= input_:
        output = max(output or 0, total - input_)
    return input_, output


def _first_count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        if (count := _count(usage.get(name))) is not None:
            return count
    return None


def _details(holder: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(details := holder.get(name), dict):
            return details
    return {}


def _count(value: Any) -> int | None:
    """A whole, not negative, not absurd number of tokens; numbers sent as text or as 12.0 are read."""
    if type(value) is int:  # nearly always; and no bool
        return value if 0 <= value <= _MOST_TOKENS else None
    if not isinstance(value, (float, str)):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if not number.is_finite() or not 0 <= number <= _MOST_TOKENS or number != int(number):
        return None
    return int(number)


def _cost(usage: Mapping[str, Any]) -> str | None:
    """What a call costs its owner, over all bills; None where that is not told.

    With a key of one's own at the provider behind OpenRouter (BYOK), `cost` is OpenRouter's fee alone, mostly 0.
    Without one, `upstream_inference_cost` is a part of `cost` that may be told as well.
    """
    fee = _usd(usage.get("cost"))
    if fee is None or usage.get("is_byok") is not True:
        return fee
    behind = _usd(_details(usage, "cost_details").get("upstream_inference_cost"))
    return None if behind is None else _usd(str(Decimal(fee) + Decimal(behind)))


def _usd(value: Any) -> str | None:
    """Dollars as plain decimal text; None for what is no amount."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD or amount.adjusted() < -_USD_PLACES:
        return None
    return format(round(amount, _USD_PLACES), "f")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
