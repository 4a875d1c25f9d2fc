"""Reads a call's body as OpenAI does: what is asked, of which model, within which limits.

Raises `ComplaintError`, in OpenAI's words, for what OpenAI refuses too.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.outcomes import Complaint, ComplaintError
from batchmill.sandbox.prompts import NO_WISHES, Asked, Tool, Wishes, digest, read_object
from batchmill.streams.pieces import STREAMED

MOST_CHOICES: Final = 128

_PROMPT_FIELD: Final = {
    Endpoint.CHAT: "messages",
    Endpoint.RESPONSES: "input",
    Endpoint.EMBEDDINGS: "input",
    Endpoint.COMPLETIONS: "prompt",
    Endpoint.MODERATIONS: "input",
}
_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
MOST_TOPS: Final = 20

_WISH_FIELDS: Final = frozenset(
    {
        *("tools", "response_format", "text", "stop", "reasoning_effort", "reasoning"),
        *("logprobs", "top_logprobs"),
    }
)


def parse_body(body: bytes) -> dict[str, Any]:
    """The body as an object."""
    value = read_object(body)
    if value is None:
        message = "We could not parse the JSON body of your request: it is not a JSON object."
        raise ComplaintError(Complaint(message=message))
    return value


def read_call(endpoint: Endpoint, body: dict[str, Any]) -> Asked:
    """What the body asks of the endpoint."""
    model = body.get("model")
    if not model and endpoint is Endpoint.MODERATIONS:
        model = "omni-moderation-latest"
    if not isinstance(model, str) or not model:
        raise _missing("model")
    if body.get("stream") and endpoint not in STREAMED:
        raise _invalid("stream", "Unrecognized request argument supplied: stream", "unknown_parameter")
    prompt = body.get(_PROMPT_FIELD[endpoint])
    if not prompt:
        raise _missing(_PROMPT_FIELD[endpoint])
    prompts, context = _texts(endpoint, prompt, body)
    return Asked(
        endpoint=endpoint,
        model=model,
        body=body,
        prompts=prompts,
        context=context,
        prompt_sha256=digest(endpoint, prompt),
        max_tokens=next(
            (_positive(body, name) for name in _LIMIT_FIELDS if body.get(name) is not None), None
        ),
        choices=1 if body.get("n") is None else _positive(body, "n", most=MOST_CHOICES),
        wishes=NO_WISHES if _WISH_FIELDS.isdisjoint(body) else _wishes(endpoint, body, prompt),
    )


def _texts(endpoint: Endpoint, prompt: Any, body: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if endpoint is Endpoint.CHAT:
        return _conversation(prompt, "messages")
    if endpoint is Endpoint.RESPONSES:
        instructions = (_text_of(body.get("instructions")),)
        if isinstance(prompt, str):
            return (prompt,), (*instructions, prompt)
        question, context = _conversation(prompt, "input")
        return question, (*instructions, *context)
    prompts = _several(prompt)
    return prompts, prompts


def _conversation(messages: Any, param: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The last user message, and all of them."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _invalid(param, f"Invalid type for '{param}': expected an array of objects.", "invalid_type")
    texts = tuple(_text_of(message.get("content")) for message in messages)
    spoken = (
        text for message, text in zip(messages, texts, strict=True) if message.get("role", "user") == "user"
    )
    return (_last(spoken),), texts


def _several(prompt: Any) -> tuple[str, ...]:
    """One text, several, one list of token numbers, several, or several content parts."""
    if isinstance(prompt, list) and any(isinstance(item, (str, list)) for item in prompt):
        return tuple(_text_of(item) for item in prompt)
    return (_text_of(prompt),)


def _text_of(content: Any) -> str:
    """The text of a content: itself, its text parts together, or token numbers written out."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        text = content.get("text")
        return text if isinstance(text, str) else ""
    if isinstance(content, list):
        numbers = bool(content) and all(isinstance(part, int) for part in content)
        return (" " if numbers else "\n").join(str(p) if numbers else _text_of(p) for p in content)
    return ""


def _last(texts: Iterable[str]) -> str:
    found = ""
    for text in texts:
        found = text
    return found


def _wishes(endpoint: Endpoint, body: Mapping[str, Any], prompt: Any) -> Wishes:
    choice = body.get("tool_choice")
    named = _function_of(choice).get("name") if isinstance(choice, dict) else None
    tools = () if choice == "none" or _ends_with_result(prompt) else _tools(body.get("tools"), named)
    return Wishes(
        tools=tools,
        must_call=named is not None or choice == "required",
        json_schema=_json_schema(body),
        stops=_stops(body.get("stop")),
        thinks=_thinks(body),
        tops=_tops(body) if endpoint is Endpoint.CHAT else None,
    )


def _tools(tools: Any, named: Any) -> tuple[Tool, ...]:
    """The functions among the tools, or the one that is named."""
    functions = [_function_of(tool) for tool in tools] if isinstance(tools, list) else []
    return tuple(
        Tool(name=function["name"], schema=_mapping(function.get("parameters")))
        for function in functions
        if isinstance(function.get("name"), str) and named in (None, function["name"])
    )


def _function_of(tool: Any) -> Mapping[str, Any]:
    """What describes a function: nested in chat, flat in responses."""
    return _mapping(tool.get("function", tool)) if isinstance(tool, dict) else {}


def _ends_with_result(prompt: Any) -> bool:
    if not isinstance(prompt, list) or not isinstance(prompt[-1], dict):
        return False
    return prompt[-1].get("role") == "tool" or prompt[-1].get("type") == "function_call_output"


def _json_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    asked_for = _mapping(body.get("response_format")) or _mapping(_mapping(body.get("text")).get("format"))
    if asked_for.get("type") == "json_schema":
        return _mapping(_mapping(asked_for.get("json_schema", asked_for)).get("schema"))
    return {} if asked_for.get("type") == "json_object" else None


def _stops(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return tuple(each for each in stops if isinstance(each, str))


def _thinks(body: Mapping[str, Any]) -> bool:
    """By `reasoning_effort`, or by `reasoning` as the Responses API and OpenRouter have it."""
    reasoning = _mapping(body.get("reasoning"))
    effort = body.get("reasoning_effort") or reasoning.get("effort")
    budgeted = reasoning.get("enabled") is True or bool(reasoning.get("max_tokens"))
    return effort not in (None, "none") or budgeted


def _tops(body: Mapping[str, Any]) -> int | None:
    tops = body.get("top_logprobs")
    if tops is not None and (type(tops) is not int or not 0 <= tops <= MOST_TOPS):
        raise _invalid("top_logprobs", f"Invalid value for 'top_logprobs': expected 0 to {MOST_TOPS}.")
    if body.get("logprobs") is True:
        return tops or 0
    if tops is not None:
        raise _invalid(
            "top_logprobs", "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        )
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _positive(body: Mapping[str, Any], name: str, most: int = 1 << 31) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _invalid(name, f"Invalid value for '{name}': expected a whole number from 1 to {most}.")
    return value


def _invalid(param: str, message: str, code: str = "invalid_value") -> ComplaintError:
    return ComplaintError(Complaint(message=message, code=code, param=param))


def _missing(param: str) -> ComplaintError:
    return _invalid(param, f"Missing required parameter: '{param}'.", "missing_required_parameter")
