"""Reads calls as Gemini does: `generateContent`, `embedContent`, `batchEmbedContents` and `countTokens`.

Raises `ComplaintError`, in Gemini's words, for what Gemini refuses too. Tools that run on Google's side are let
through unread.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from batchmill.requests.model import Endpoint
from batchmill.sandbox.outcomes import Complaint, ComplaintError
from batchmill.sandbox.prompts import Asked, Tool, WireName, Wishes, digest, read_object
from batchmill.sandbox.request import Request
from batchmill.sandbox.vectors import MOST_DIMENSIONS
from batchmill.sandbox.wires.gemini.contents import Turn, read_content, read_contents
from batchmill.sandbox.wires.gemini.errors import invalid, unreadable
from batchmill.sandbox.wires.gemini.fields import (
    check_number,
    check_whole,
    in_words,
    read_choice,
    read_fields,
    read_list,
    read_schema,
    read_text,
)

MOST_CANDIDATES: Final = 8
MOST_STOPS: Final = 5

_CALL_FIELDS: Final = frozenset(
    {
        *("model", "contents", "systemInstruction", "tools", "toolConfig", "safetySettings"),
        *("generationConfig", "cachedContent", "serviceTier", "store", "labels"),
    }
)
_CONFIG_FIELDS: Final = frozenset(
    {
        *("candidateCount", "stopSequences", "maxOutputTokens", "temperature", "topP", "topK", "seed"),
        *("presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "responseMimeType"),
        *(
            "responseSchema",
            "responseJsonSchema",
            "_responseJsonSchema",
            "responseModalities",
            "thinkingConfig",
        ),
        *("mediaResolution", "speechConfig", "imageConfig", "enableEnhancedCivicAnswers", "responseFormat"),
    }
)
_TOOL_FIELDS: Final = frozenset(
    {
        *("functionDeclarations", "googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext"),
        *("fileSearch", "computerUse", "googleMaps", "mcpServers"),
    }
)
_FUNCTION_FIELDS: Final = frozenset(
    {
        *("name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"),
        "behavior",
    }
)
_EMBED_FIELDS: Final = frozenset(
    {"model", "content", "taskType", "title", "outputDimensionality", "embedContentConfig"}
)
_FUNCTION_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_MIME_TYPES: Final = ("text/plain", "application/json")
_MODES: Final = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_LEVELS: Final = ("THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
_HARMS: Final = tuple(
    f"HARM_CATEGORY_{name}"
    for name in (
        *("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY"),
        *("UNSPECIFIED", "JAILBREAK"),
    )
)
_THRESHOLDS: Final = (
    *("HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE"),
    *("BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"),
)
_ROLES: Final[Mapping[str, str]] = {"model": "assistant"}


def check_caller(request: Request) -> None:
    """Refuse a caller who shows no key; any will do, in a header or in the address."""
    key = request.headers.get("x-goog-api-key") or request.headers.get("authorization")
    if not key and not parse_qs(request.query).get("key"):
        message = (
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API."
        )
        raise ComplaintError(Complaint(status=403, message=message))


def read_body(request: Request) -> dict[str, Any]:
    """The body, of a caller with a key."""
    check_caller(request)
    body = read_object(request.body)
    if body is None:
        raise unreadable("", "Invalid JSON payload received. Expected an object.")
    return body


def read_generate(model: str, body: dict[str, Any]) -> Asked:
    """What a call of `generateContent` asks."""
    fields = read_fields(body, "", _CALL_FIELDS)
    turns = read_contents(fields.get("contents"))
    system = fields.get("systemInstruction")
    instruction = read_content(system, "system_instruction").text if system is not None else ""
    config = _config(fields.get("generationConfig", {}))
    _check_safety(fields.get("safetySettings"))
    if "cachedContent" in fields:
        message = "CachedContent not found (or permission denied)"
        raise ComplaintError(Complaint(status=403, message=message))
    spoken = (turn.text for turn in reversed(turns) if turn.role == "user" and turn.text)
    return Asked(
        wire=WireName.GEMINI,
        endpoint=Endpoint.CHAT,
        model=model,
        body=body,
        prompts=(next(spoken, ""),),
        context=(instruction, *(turn.text for turn in turns)),
        prompt_sha256=digest(Endpoint.CHAT, _conversation(instruction, turns)),
        max_tokens=config.get("maxOutputTokens"),
        choices=config.get("candidateCount", 1),
        wishes=_wishes(fields, config, turns),
    )


def read_count(model: str, body: dict[str, Any]) -> Asked:
    """What a call of `countTokens` asks; nothing is said to it, and nothing charged."""
    fields = read_fields(body, "", ("model", "contents", "generateContentRequest"))
    inner = fields.get("generateContentRequest")
    inner = fields if inner is None else read_fields(inner, "generate_content_request", _CALL_FIELDS)
    turns = read_contents(inner.get("contents"))
    system = inner.get("systemInstruction")
    instruction = read_content(system, "system_instruction").text if system is not None else ""
    context = (instruction, *(turn.text for turn in turns))
    return _silent(Endpoint.MODERATIONS, model, body, context, context)


def read_embed(model: str, body: dict[str, Any]) -> Asked:
    """What a call of `embedContent` asks."""
    text = _embedded(body, "", model)
    return _silent(Endpoint.EMBEDDINGS, model, body, (text,), text)


def read_batch_embed(model: str, body: dict[str, Any]) -> Asked:
    """What a call of `batchEmbedContents` asks."""
    requests = read_list(read_fields(body, "", ("model", "requests")).get("requests"), "requests")
    if not requests:
        raise invalid("* BatchEmbedContentsRequest.requests: requests is not specified\n")
    texts = tuple(_embedded(each, f"requests[{place}]", model) for place, each in enumerate(requests))
    return _silent(Endpoint.EMBEDDINGS, model, body, texts, texts if len(texts) > 1 else texts[0])


def _silent(
    endpoint: Endpoint, model: str, body: dict[str, Any], texts: tuple[str, ...], prompt: Any
) -> Asked:
    return Asked(
        wire=WireName.GEMINI,
        endpoint=endpoint,
        model=model,
        body=body,
        prompts=texts,
        context=texts,
        prompt_sha256=digest(endpoint, prompt),
        max_tokens=None,
        choices=1,
    )


def _embedded(request: Any, where: str, model: str) -> str:
    fields = read_fields(request, where, _EMBED_FIELDS)
    named = read_text(fields.get("model", model), f"{where}.model").removeprefix("models/")
    if named != model:
        raise invalid("The model of each request must match the model in the address.")
    check_whole(fields, "outputDimensionality", where or "request", 1, MOST_DIMENSIONS)
    return read_content(fields.get("content"), f"{where}.content" if where else "content").text


def _conversation(instruction: str, turns: Sequence[Turn]) -> list[dict[str, Any]]:
    first = [{"role": "system", "content": instruction}] if instruction else []
    return [*first, *({"role": _ROLES.get(turn.role, turn.role), "content": turn.plain} for turn in turns)]


def _config(config: Any) -> dict[str, Any]:
    where = "generation_config"
    fields = read_fields(config, where, _CONFIG_FIELDS)
    check_whole(fields, "maxOutputTokens", where, 1)
    check_whole(fields, "candidateCount", where, 1, MOST_CANDIDATES)
    check_whole(fields, "seed", where, -(1 << 31))
    check_whole(fields, "logprobs", where, 0, 20)
    check_number(fields, "temperature", where, 0.0, 2.0)
    check_number(fields, "topP", where, 0.0, 1.0)
    check_number(fields, "topK", where, 1, 1 << 31)
    check_number(fields, "presencePenalty", where, -2.0, 2.0)
    check_number(fields, "frequencyPenalty", where, -2.0, 2.0)
    if "logprobs" in fields and not fields.get("responseLogprobs"):
        raise invalid("logprobs may only be set when response_logprobs is true.")
    stops = read_list(fields.get("stopSequences"), f"{where}.stop_sequences")
    if len(stops) > MOST_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise invalid(
            f"* GenerateContentRequest.{where}.stop_sequences: at most {MOST_STOPS} texts, none empty.\n"
        )
    _check_thinking(fields)
    return fields


def _check_thinking(config: dict[str, Any]) -> None:
    where = "generation_config.thinking_config"
    names = ("includeThoughts", "thinkingBudget", "thinkingLevel")
    thinking = read_fields(config.get("thinkingConfig", {}), where, names)
    check_whole(thinking, "thinkingBudget", where, -1)
    if "thinkingLevel" in thinking:
        read_choice(
            str(thinking["thinkingLevel"]).upper(), f"{where}.thinking_level", "ThinkingLevel", _LEVELS
        )
        if "thinkingBudget" in thinking:
            raise invalid("You can only set only one of thinking budget and thinking level.")
    config["thinkingConfig"] = thinking


def _check_safety(settings: Any) -> None:
    for place, setting in enumerate(read_list(settings, "safety_settings")):
        where = f"safety_settings[{place}]"
        fields = read_fields(setting, where, ("category", "threshold"))
        read_choice(fields.get("category"), f"{where}.category", "HarmCategory", _HARMS)
        read_choice(
            fields.get("threshold"), f"{where}.threshold", "SafetySetting.HarmBlockThreshold", _THRESHOLDS
        )


def _wishes(fields: Mapping[str, Any], config: Mapping[str, Any], turns: Sequence[Turn]) -> Wishes:
    tools = _tools(fields.get("tools"))
    mode, allowed = _calling(fields.get("toolConfig", {}))
    if mode == "NONE" or turns[-1].responses:
        tools = ()
    elif allowed:
        tools = tuple(tool for tool in tools if tool.name in allowed)
    thinking = config["thinkingConfig"]
    return Wishes(
        tools=tools,
        must_call=mode == "ANY",
        json_schema=_json_schema(config),
        stops=tuple(config.get("stopSequences", ())),
        thinks=bool(thinking) and thinking.get("thinkingBudget") != 0,
        shows_thoughts=thinking.get("includeThoughts") is True,
        tops=config.get("logprobs", 0) if config.get("responseLogprobs") else None,
    )


def _tools(tools: Any) -> tuple[Tool, ...]:
    found = []
    for place, tool in enumerate(read_list(tools, "tools")):
        where = f"tools[{place}]"
        declared = read_fields(tool, where, _TOOL_FIELDS).get("functionDeclarations")
        where = f"{where}.function_declarations"
        for number, function in enumerate(read_list(declared, where)):
            found.append(_tool(function, f"{where}[{number}]"))
    if len({tool.name for tool in found}) < len(found):
        raise invalid("Duplicate function declaration found.")
    return tuple(found)


def _tool(function: Any, where: str) -> Tool:
    fields = read_fields(function, where, _FUNCTION_FIELDS)
    name = read_text(fields.get("name"), f"{where}.name")
    if not _FUNCTION_NAME.fullmatch(name):
        raise invalid(
            f"* GenerateContentRequest.{where}.name: [Invalid function name. Must start with a letter or an "
            "underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-).]\n"
        )
    if "parameters" in fields and "parametersJsonSchema" in fields:
        raise invalid(
            f"* GenerateContentRequest.{where}: parameters and parameters_json_schema are exclusive.\n"
        )
    if "parameters" in fields:
        return Tool(name=name, schema=read_schema(fields["parameters"], f"{where}.parameters"))
    schema = fields.get("parametersJsonSchema", {})
    return Tool(name=name, schema=schema if isinstance(schema, dict) else {})


def _calling(config: Any) -> tuple[str, Sequence[str]]:
    """The mode, and the functions it is for; all where none is named."""
    names = ("functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations")
    where = "tool_config.function_calling_config"
    calling = read_fields(config, "tool_config", names).get("functionCallingConfig", {})
    fields = read_fields(calling, where, ("mode", "allowedFunctionNames", "streamFunctionCallArguments"))
    mode = in_words(fields.get("mode", "AUTO"), _MODES)
    mode = read_choice(mode, f"{where}.mode", "FunctionCallingConfig.Mode", _MODES)
    allowed = read_list(fields.get("allowedFunctionNames"), f"{where}.allowed_function_names")
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise invalid(
            "allowed_function_names should only be set when the Function Calling mode is ANY or VALIDATED."
        )
    return mode, allowed


def _json_schema(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    mime_type = config.get("responseMimeType", "text/plain")
    if mime_type not in _MIME_TYPES:
        raise invalid(
            "* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are "
            f"{', '.join(f'`{name}`' for name in _MIME_TYPES)}.\n"
        )
    schema = config.get("responseJsonSchema", config.get("_responseJsonSchema"))
    if "responseSchema" in config:
        if schema is not None:
            raise invalid("Only one of response_schema and response_json_schema can be set.")
        schema = read_schema(config["responseSchema"], "generation_config.response_schema")
    if mime_type == "text/plain":
        if schema is not None:
            raise invalid(
                "Function calling or a response schema with response mime type: 'text/plain' is unsupported"
            )
        return None
    return schema if isinstance(schema, dict) else {}
