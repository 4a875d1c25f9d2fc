"""A request of OpenAI's chat completions as one of Anthropic's messages.

Facts: the types of Anthropic's SDK 2.14, read for API version 2023-06-01 (wire-facts §0), and of OpenAI's 3.57.
Nothing is dropped in silence: a field is said, or is one that cannot change the answer, or is an error that names it.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from batchmill.providers.anthropic import messages, tools
from batchmill.providers.anthropic.rules import (
    Asked,
    Rule,
    accepted,
    by_name,
    fields_of,
    refused,
    said,
    unsaid,
)
from batchmill.providers.anthropic.thinking import NOTE, check_thinking, write_effort
from batchmill.providers.anthropic.values import a_count, a_list, a_number, a_text, an_object, shown
from batchmill.providers.base import Call
from batchmill.providers.openai_fields import EMBEDDINGS
from batchmill.providers.wire import UntranslatableError
from batchmill.requests.model import Endpoint

_NOT_OFFERED: Final = "is not offered by Anthropic"


def write_body(call: Call) -> bytes:
    """The body of Anthropic's request.

    Raises:
        UntranslatableError: Anthropic cannot be asked for that.
    """
    if call.endpoint is not Endpoint.CHAT:
        raise UntranslatableError(call.endpoint.value, _NOT_OFFERED)
    try:
        return orjson.dumps(_write(_body(call), call.output_cap_tokens))
    except orjson.JSONEncodeError as error:
        raise UntranslatableError("body", "is nested too deeply") from error


def _body(call: Call) -> Mapping[str, Any]:
    try:
        body = orjson.loads(call.body)
    except ValueError as error:
        raise UntranslatableError("body", "is not JSON") from error
    return an_object(body, "body")


def _write(body: Mapping[str, Any], output_cap_tokens: int) -> Mapping[str, Any]:
    for name in ("model", "messages"):
        if body.get(name) is None:
            raise UntranslatableError(name, "is missing")
    asked = Asked(
        body=body, model=a_text(body["model"], "model"), max_tokens=_max_tokens(body, output_cap_tokens)
    )
    request: dict[str, Any] = {"max_tokens": asked.max_tokens}
    for name, value in body.items():
        if value is None:
            continue
        if name not in RULES:
            raise UntranslatableError(shown(name), "is not known for Anthropic; leave it out")
        _add(request, RULES[name].write(value, asked))
    check_thinking(request)
    return request


def _add(request: dict[str, Any], fragment: Mapping[str, Any]) -> None:
    for name, value in fragment.items():
        there = request.get(name)
        request[name] = {**there, **value} if isinstance(there, dict) else value


def _max_tokens(body: Mapping[str, Any], output_cap_tokens: int) -> int:
    given = {
        name: a_count(body[name], name)
        for name in ("max_completion_tokens", "max_tokens")
        if body.get(name) is not None
    }
    if len(set(given.values())) > 1:
        raise UntranslatableError("max_tokens", "differs from max_completion_tokens; leave one out")
    return next(iter(given.values()), output_cap_tokens)


# fields


def _model(value: Any, asked: Asked) -> Mapping[str, Any]:
    return {"model": asked.model}


def _longest(value: Any, asked: Asked) -> Mapping[str, Any]:
    return {"max_tokens": asked.max_tokens}


def _temperature(value: Any, asked: Asked) -> Mapping[str, Any]:
    return {"temperature": a_number(value, "temperature", 0, 1)}


def _top_p(value: Any, asked: Asked) -> Mapping[str, Any]:
    return {"top_p": a_number(value, "top_p", 0, 1)}


def _stop(value: Any, asked: Asked) -> Mapping[str, Any]:
    texts = [a_text(text, "stop") for text in (a_list(value, "stop") if isinstance(value, list) else [value])]
    if not all(text.strip() for text in texts):
        raise UntranslatableError("stop", "holds only white space, which Anthropic does not take")
    return {"stop_sequences": texts} if texts else {}


def _user(value: Any, asked: Asked) -> Mapping[str, Any]:
    user = a_text(value, "user")
    return {} if asked.body.get("safety_identifier") is not None else {"metadata": {"user_id": user}}


def _safety_identifier(value: Any, asked: Asked) -> Mapping[str, Any]:
    return {"metadata": {"user_id": a_text(value, "safety_identifier")}}


def _service_tier(value: Any, asked: Asked) -> Mapping[str, Any]:
    tier = a_text(value, "service_tier")
    if tier not in _TIERS:
        raise UntranslatableError("service_tier", "can only be auto or default at Anthropic")
    return {"service_tier": _TIERS[tier]}


_TIERS: Final[Mapping[str, str]] = {"auto": "auto", "default": "standard_only"}
_NO_COUNTERPART: Final = "has no counterpart at Anthropic; leave it out"

RULES: Final[Mapping[str, Rule]] = by_name(
    said("model", "As it is.", _model),
    said("messages", "The system prompt and the turns.", messages.write_messages),
    said(
        "max_completion_tokens",
        "`max_tokens`, which Anthropic must always be told: without it, `BATCHMILL_OUTPUT_CAP_TOKENS`, or the model's "
        "own where that is less and a budget counts.",
        _longest,
    ),
    said("max_tokens", "The same as max_completion_tokens. Two that differ are an error.", _longest),
    said(
        "temperature",
        "`temperature` from 0 to 1; above 1 is an error. 1 is what happens anyway and is left out. "
        "Newer models of Anthropic's refuse any other.",
        _temperature,
        1,
    ),
    said("top_p", "`top_p`. 1 is what happens anyway and is left out.", _top_p, 1),
    said("stop", "`stop_sequences`. White space alone is an error.", _stop),
    refused("n", "can only be 1 at Anthropic; ask several times instead", 1),
    refused("seed", _NO_COUNTERPART),
    said("reasoning_effort", NOTE, write_effort),
    refused("verbosity", "can only be medium at Anthropic; ask for it in words", "medium"),
    refused("presence_penalty", "can only be 0 at Anthropic", 0),
    refused("frequency_penalty", "can only be 0 at Anthropic", 0),
    refused("logit_bias", _NO_COUNTERPART, {}),
    refused("logprobs", "are not told by Anthropic", False),
    refused("top_logprobs", "are not told by Anthropic", 0),
    said("response_format", "By its type, see below.", tools.write_response_format),
    said(
        "tools",
        "Functions, as `tools`. A schema of parameters that names no type is one of an object.",
        tools.write_tools,
    ),
    said("tool_choice", tools.NAMED["function"].field.note, tools.write_tool_choice),
    said("parallel_tool_calls", "False as `tool_choice.disable_parallel_tool_use`.", tools.write_tool_choice),
    refused("functions", "are not known at Anthropic; use tools", []),
    refused("function_call", "is not known at Anthropic; use tool_choice"),
    refused("modalities", "can only be text at Anthropic", ["text"]),
    refused("audio", "cannot be given: Claude does not speak"),
    refused("prediction", _NO_COUNTERPART),
    refused("web_search_options", "are OpenAI's; leave them out"),
    refused("moderation", "is OpenAI's; leave it out"),
    said("user", "`metadata.user_id`, unless there is a safety_identifier, its successor.", _user),
    said("safety_identifier", "`metadata.user_id`.", _safety_identifier),
    accepted("metadata", "Kept with the batch; no model reads it.", an_object),
    refused("store", "can only be false at Anthropic, which keeps no answers", False),
    said(
        "service_tier",
        "`auto` as it is, `default` as `standard_only`; another is an error.",
        _service_tier,
    ),
    accepted("prompt_cache_key", "Of OpenAI's cache; Anthropic is not asked to cache.", a_text),
    accepted("prompt_cache_options", "Of OpenAI's cache; Anthropic is not asked to cache.", an_object),
    accepted("prompt_cache_retention", "Of OpenAI's cache; Anthropic is not asked to cache.", a_text),
    refused("stream", "can only be false: a batch has whole answers", False),
    refused("stream_options", "are of streams; leave them out"),
)

FIELDS: Final = messages.FIELDS | tools.FIELDS | fields_of(RULES)

EMBEDDING_FIELDS: Final = {
    name: unsaid(name, f"cannot be asked: {Endpoint.EMBEDDINGS.value} {_NOT_OFFERED}") for name in EMBEDDINGS
}
