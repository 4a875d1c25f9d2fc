"""A request in OpenAI's shape, as Gemini's: every field mapped, accepted as of no consequence, or an error.

Facts: ai.google.dev/api/generate-content, /api/embeddings and the types of the official SDK.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from batchmill.providers.gemini import formats, messages, models, shapes, tools
from batchmill.providers.gemini.rules import Rule, follow, ignored, mapped, refused
from batchmill.providers.wire import UntranslatableError
from batchmill.requests.model import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Gemini's request while it is written.

    Attributes:
        model: Its bare name.
        asked: The whole request that is translated.
        request: Everything but `generationConfig`.
        config: What becomes `generationConfig`.
    """

    model: str
    asked: Mapping[str, Any]
    request: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def translate(endpoint: Endpoint, model: str, body: bytes) -> dict[str, Any]:
    """Gemini's request, as a JSON value.

    Raises:
        UntranslatableError: There is something in it that Gemini has no word for, or it is malformed.
    """
    if endpoint not in (Endpoint.CHAT, Endpoint.EMBEDDINGS):
        raise UntranslatableError("url", f"'{endpoint}' has no counterpart at Gemini: use {Endpoint.CHAT}")
    try:
        asked = shapes.members(orjson.loads(body), "body")
    except orjson.JSONDecodeError as error:
        raise UntranslatableError("body", "is not JSON") from error
    draft = Draft(model=model, asked=asked)
    if endpoint is Endpoint.EMBEDDINGS:
        return _embeddings(draft)
    shapes.required(asked, "messages", "")
    follow(CHAT, draft, asked)
    return draft.request | ({"generationConfig": draft.config} if draft.config else {})


def dump(request: Mapping[str, Any]) -> bytes:
    """The request as JSON.

    Raises:
        UntranslatableError: JSON in a text of it holds what no JSON of Gemini's does.
    """
    try:
        return orjson.dumps(request)
    except TypeError as error:
        raise UntranslatableError(
            "messages", "hold a number of more than 64 bits, half a character, or are nested too deeply"
        ) from error


def _embeddings(draft: Draft) -> dict[str, Any]:
    given = shapes.required(draft.asked, "input", "")
    texts = [given] if isinstance(given, str) else shapes.items(given, "input")
    if not texts:
        raise UntranslatableError("input", "is empty")
    follow(EMBEDDINGS, draft, draft.asked)
    name = models.resource(draft.model)
    parts = [shapes.text(each, f"input[{index}]") for index, each in enumerate(texts)]
    return {
        "requests": [
            {"model": name, "content": {"parts": [{"text": part}]}} | draft.request for part in parts
        ]
    }


# the conversation


def _converse(draft: Draft, value: Any, param: str) -> None:
    conversation = messages.read(value, models.fetches_urls(draft.model))
    draft.request["contents"] = conversation.contents
    if conversation.instructions:
        text = "\n\n".join(conversation.instructions)
        draft.request["systemInstruction"] = {"parts": [{"text": text}]}
    if (resolution := conversation.resolution()) is not None:
        draft.config["mediaResolution"] = resolution


def _declare(draft: Draft, value: Any, param: str) -> None:
    toolbox = tools.read(value, param)
    if not toolbox.declarations:
        return
    draft.request["tools"] = [{"functionDeclarations": list(toolbox.declarations)}]
    choice = draft.asked.get("tool_choice")
    calling = tools.choice("auto" if choice is None else choice, "tool_choice")
    if calling["mode"] == "AUTO" and toolbox.strict:
        calling = {"mode": "VALIDATED"}
    if choice is not None or toolbox.strict:
        draft.request["toolConfig"] = {"functionCallingConfig": calling}


def _choose(draft: Draft, value: Any, param: str) -> None:
    if "tools" not in draft.request and value != "none":
        raise UntranslatableError(param, "needs tools to choose from")


# what the answer is to be like


def _answer_format(draft: Draft, value: Any, param: str) -> None:
    formats.tell(draft.config, value, param)


def _tokens(draft: Draft, value: Any, param: str) -> None:
    most = shapes.whole(value, param)
    if draft.config.setdefault("maxOutputTokens", most) != most:
        raise UntranslatableError("max_tokens", "differs from max_completion_tokens")


def _stop(draft: Draft, value: Any, param: str) -> None:
    stops = [value] if isinstance(value, str) else shapes.items(value, param)
    texts = [shapes.text(stop, f"{param}[{index}]") for index, stop in enumerate(stops)]
    if texts:
        draft.config["stopSequences"] = texts


def _number(name: str) -> Any:
    def write(draft: Draft, value: Any, param: str) -> None:
        draft.config[name] = shapes.number(value, param)

    return write


def _penalty(name: str) -> Any:
    # Many models refuse a penalty, be it 0.
    def write(draft: Draft, value: Any, param: str) -> None:
        if shapes.number(value, param) != 0:
            draft.config[name] = value

    return write


def _seed(draft: Draft, value: Any, param: str) -> None:
    draft.config["seed"] = shapes.whole(value, param)


def _choices(draft: Draft, value: Any, param: str) -> None:
    if (count := shapes.whole(value, param)) != 1:
        draft.config["candidateCount"] = count


def _logprobs(draft: Draft, value: Any, param: str) -> None:
    if shapes.flag(value, param):
        draft.config["responseLogprobs"] = True


def _top_logprobs(draft: Draft, value: Any, param: str) -> None:
    if (count := shapes.whole(value, param)) == 0:
        return
    if "responseLogprobs" not in draft.config:
        raise UntranslatableError(param, "needs logprobs to be true")
    draft.config["logprobs"] = count


def _effort(draft: Draft, value: Any, param: str) -> None:
    draft.config["thinkingConfig"] = models.thinking(draft.model, shapes.text(value, param), param)


def _dimensions(draft: Draft, value: Any, param: str) -> None:
    draft.request["outputDimensionality"] = shapes.whole(value, param)


def _elsewhere(draft: Draft, value: Any, param: str) -> None:
    """What is read where it belongs."""


_NO_PLACE_FOR_PRICES: Final = "is not told: what Gemini's tiers cost is not known here; leave it out"

CHAT: Final[Mapping[str, Rule[Draft]]] = {
    "model": mapped("model", "A part of the address.", _elsewhere),
    "messages": mapped("messages", "Contents and a system instruction; see its parts.", _converse),
    "tools": mapped(
        "tools",
        "Function declarations, parameters as JSON Schema.",
        _declare,
    ),
    "tool_choice": mapped(
        "tool_choice",
        "auto is mode AUTO, none NONE, required ANY; a named function is the one allowed under ANY.",
        _choose,
    ),
    "response_format": mapped("response_format", "See its types.", _answer_format),
    "max_completion_tokens": mapped(
        "max_completion_tokens", "`maxOutputTokens`; thinking counts at both.", _tokens
    ),
    "max_tokens": mapped("max_tokens", "The same as max_completion_tokens.", _tokens),
    "stop": mapped("stop", "`stopSequences`; Gemini takes five.", _stop),
    "temperature": mapped("temperature", "As it is.", _number("temperature")),
    "top_p": mapped("top_p", "`topP`.", _number("topP")),
    "presence_penalty": mapped(
        "presence_penalty", "`presencePenalty`; 0 is left out.", _penalty("presencePenalty")
    ),
    "frequency_penalty": mapped(
        "frequency_penalty", "`frequencyPenalty`; 0 is left out.", _penalty("frequencyPenalty")
    ),
    "seed": mapped("seed", "As it is; Gemini's has 32 bits.", _seed),
    "n": mapped("n", "`candidateCount`; Gemini makes eight at most.", _choices),
    "logprobs": mapped("logprobs", "`responseLogprobs`.", _logprobs),
    "top_logprobs": mapped("top_logprobs", "`logprobs`.", _top_logprobs),
    "reasoning_effort": mapped(
        "reasoning_effort",
        "Gemini 2.5: a thinking budget of 1,024 tokens (minimal, low), 8,192 (medium) or 24,576 (high); none "
        "is 0, not for Pro. Gemini 3 and later: the thinking level of that name, xhigh included; minimal is "
        "LOW for Pro, none is an error. Other models and max: an error.",
        _effort,
    ),
    "user": ignored("user", "Gemini has no field for the end user."),
    "metadata": ignored("metadata", "For the records of OpenAI."),
    "safety_identifier": ignored("safety_identifier", "Gemini has no field for the end user."),
    "prompt_cache_key": ignored("prompt_cache_key", "Gemini finds what is cached by itself."),
    "prompt_cache_options": ignored("prompt_cache_options", "Gemini finds what is cached by itself."),
    "prompt_cache_retention": ignored("prompt_cache_retention", "Gemini finds what is cached by itself."),
    "stream": refused("stream", "is not for batches: leave it out", neutral=(False,)),
    "stream_options": refused("stream_options", "is not for batches: leave it out", neutral=({},)),
    "store": refused("store", "is not told: Gemini keeps no completions to look up", neutral=(False,)),
    "service_tier": refused("service_tier", _NO_PLACE_FOR_PRICES, neutral=("auto", "default")),
    "parallel_tool_calls": refused(
        "parallel_tool_calls", "cannot be false: Gemini has no limit on calls in one turn", neutral=(True,)
    ),
    "logit_bias": refused("logit_bias", "has no counterpart at Gemini", neutral=({},)),
    "modalities": refused("modalities", "can be ['text'] only", neutral=(["text"],)),
    "audio": refused("audio", "has no counterpart: answers of sound have no place in this translation"),
    "prediction": refused("prediction", "has no counterpart at Gemini"),
    "moderation": refused("moderation", "has no counterpart at Gemini"),
    "verbosity": refused("verbosity", "has no counterpart at Gemini: ask in words", neutral=("medium",)),
    "web_search_options": refused(
        "web_search_options", "is not told: what Gemini's searches cost is not known here"
    ),
    "functions": refused("functions", "is out of use: give tools", neutral=([],)),
    "function_call": refused("function_call", "is out of use: give tool_choice", neutral=("none",)),
}

EMBEDDINGS: Final[Mapping[str, Rule[Draft]]] = {
    "model": mapped("model", "A part of the address and of each request.", _elsewhere),
    "input": mapped("input", "A text or several; numbers of tokens are an error.", _elsewhere),
    "dimensions": mapped("dimensions", "`outputDimensionality`.", _dimensions),
    "encoding_format": refused(
        "encoding_format", "must be float: Gemini sends vectors as numbers", neutral=("float",)
    ),
    "user": ignored("user", "Gemini has no field for the end user."),
}
