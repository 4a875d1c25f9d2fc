"""Reads a call of `/v1/messages` as Anthropic does.

Raises `ComplaintError`, in Anthropic's words, for what Anthropic refuses too. Tools that run on Anthropic's side
are let through unread.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.outcomes import Complaint, ComplaintError
from batchmill.sandbox.prompts import Asked, Tool, WireName, Wishes, digest, read_object
from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.anthropic.blocks import NEW_VERSION, Turn, only, read_system, read_turns
from batchmill.sandbox.wires.anthropic.errors import invalid

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
VERSIONS: Final = ("2023-01-01", "2023-06-01", NEW_VERSION)
LEAST_THINKING: Final = 1024

_SAMPLING: Final = ("temperature", "top_p", "top_k")
_FIELDS: Final = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "stop_sequences", "stream", "metadata", "tools"),
        *("tool_choice", "thinking", "output_config", "output_format", "service_tier", "cache_control"),
        *("container", "context_management", "diagnostics", "inference_geo", "mcp_servers", "speed"),
        *("user_profile_id", "workspace_id", *_SAMPLING),
    }
)
_TOOL_FIELDS: Final = (
    *("type", "name", "description", "input_schema", "cache_control", "strict", "input_examples"),
    *("allowed_callers", "defer_loading", "eager_input_streaming"),
)
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_OWN_TOOL: Final = re.compile(r"[a-z_]+_20\d{6}|mcp_toolset")
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_THINKING: Final = ("enabled", "disabled", "adaptive", "between_tools")


def check_caller(request: Request) -> str:
    """The API version that the caller asks for, once it has shown a key; any will do."""
    key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
    if not key.strip():
        raise ComplaintError(Complaint(status=401, message="x-api-key header is required"))
    version = request.headers.get("anthropic-version")
    if not version:
        raise invalid("anthropic-version", "header is required")
    if version not in VERSIONS:
        raise invalid("anthropic-version", f'"{version}" is not a valid version')
    return version


def read_message_call(request: Request) -> Asked:
    """What the call asks."""
    version = check_caller(request)
    if len(request.body) > MAX_BODY_BYTES:
        raise ComplaintError(Complaint(status=413, message="Request exceeds the maximum size"))
    body = read_object(request.body)
    if body is None:
        raise ComplaintError(Complaint(message="The request body is not valid JSON: expected an object"))
    _check_fields(body, version)
    turns = read_turns(body["messages"], version)
    system = read_system(body["system"]) if "system" in body else ""
    wishes = _wishes(body, turns)
    _check_thinking(body)
    spoken = (turn.said for turn in reversed(turns) if turn.role == "user" and turn.said)
    return Asked(
        wire=WireName.ANTHROPIC,
        endpoint=Endpoint.CHAT,
        model=body["model"],
        body=body,
        prompts=(next(spoken, ""),),
        context=(system, *(turn.text for turn in turns)),
        prompt_sha256=digest(Endpoint.CHAT, _conversation(system, turns)),
        max_tokens=body["max_tokens"],
        choices=1,
        wishes=wishes,
    )


def _conversation(system: str, turns: Sequence[Turn]) -> list[dict[str, Any]]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *({"role": turn.role, "content": turn.plain} for turn in turns)]


def _check_fields(body: Mapping[str, Any], version: str) -> None:
    for name in body:
        if name not in _FIELDS or (version == NEW_VERSION and name in _SAMPLING):
            raise invalid(name, "Extra inputs are not permitted")
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise invalid(name, "Field required")
    if not isinstance(body["model"], str) or not body["model"]:
        raise invalid("model", "Input should be a valid string")
    _whole(body["max_tokens"], "max_tokens", 0)
    for name, most in (("temperature", 1), ("top_p", 1)):
        if name in body:
            _share(body[name], name, most)
    if "top_k" in body:
        _whole(body["top_k"], "top_k", 0)
    if body.get("stream"):
        raise invalid("stream", "The sandbox does not stream; leave it out or false")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise invalid("service_tier", "Input should be 'auto' or 'standard_only'")
    metadata = body.get("metadata") or {}
    only(_object(metadata, "metadata"), "metadata", ("user_id",))
    if not isinstance(metadata.get("user_id", ""), (str, type(None))):
        raise invalid("metadata.user_id", "Input should be a valid string")


def _wishes(body: Mapping[str, Any], turns: Sequence[Turn]) -> Wishes:
    tools = _tools(body.get("tools"))
    choice = _choice(body.get("tool_choice"), body, tools)
    if choice == "none" or turns[-1].results:
        tools = ()
    elif isinstance(choice, Tool):
        tools = (choice,)
    thinking = body.get("thinking") or {}
    thinks = _object(thinking, "thinking").get("type") not in (None, "disabled")
    return Wishes(
        tools=tools,
        must_call=isinstance(choice, Tool) or choice == "any",
        json_schema=_json_schema(body),
        stops=_stops(body.get("stop_sequences")),
        thinks=thinks,
        shows_thoughts=thinks,
    )


def _tools(tools: Any) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise invalid("tools", "Input should be a valid list")
    read = [_tool(tool, f"tools.{place}") for place, tool in enumerate(tools)]
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    if len(set(names)) < len(names):
        raise invalid("tools", "Tool names must be unique.")
    return tuple(tool for tool in read if tool is not None)


def _tool(tool: Any, where: str) -> Tool | None:
    """A tool of the caller's own; None for one of Anthropic's."""
    kind = _object(tool, where).get("type")
    if kind not in (None, "custom"):
        if not _OWN_TOOL.fullmatch(str(kind)):
            raise invalid(
                where, f"Input tag '{kind}' found using 'type' does not match any of the expected tags"
            )
        return None
    where = f"{where}.custom"
    only(tool, where, _TOOL_FIELDS)
    name, schema = tool.get("name"), tool.get("input_schema")
    if name is None or schema is None:
        raise invalid(f"{where}.{'name' if name is None else 'input_schema'}", "Field required")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise invalid(f"{where}.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
    if _object(schema, f"{where}.input_schema").get("type") != "object":
        raise invalid(f"{where}.input_schema.type", "Input should be 'object'")
    return Tool(name=name, schema=schema)


def _choice(choice: Any, body: Mapping[str, Any], tools: Sequence[Tool]) -> Tool | str:
    """The tool that must be called, or one of `auto`, `any` and `none`."""
    if choice is None:
        return "auto"
    kind = _object(choice, "tool_choice").get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise invalid(
            "tool_choice", "Input tag found using 'type' does not match any of 'auto', 'any', 'tool', 'none'"
        )
    fields = ("type", "disable_parallel_tool_use", *(("name",) if kind == "tool" else ()))
    only(choice, f"tool_choice.{kind}", fields[:1] if kind == "none" else fields)
    if not body.get("tools"):
        raise invalid("tool_choice", "may only be specified while providing tools")
    if kind != "tool":
        return str(kind)
    named = next((tool for tool in tools if tool.name == choice.get("name")), None)
    if named is None:
        raise invalid("tool_choice", f"Tool '{choice.get('name')}' not found in provided tools")
    return named


def _json_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = _object(body.get("output_config") or {}, "output_config")
    only(config, "output_config", ("effort", "format", "task_budget"))
    if config.get("effort") not in (None, *_EFFORTS):
        raise invalid("output_config.effort", f"Input should be {' or '.join(map(repr, _EFFORTS))}")
    where = "output_format" if body.get("output_format") else "output_config.format"
    wanted = body.get("output_format") or config.get("format")
    if wanted is None:
        return None
    only(_object(wanted, where), where, ("type", "schema"))
    if wanted.get("type") != "json_schema":
        raise invalid(f"{where}.type", "Input should be 'json_schema'")
    schema = _object(wanted.get("schema"), f"{where}.schema")
    _check_closed(schema, f"{where}.schema")
    return schema


def _check_closed(schema: Any, where: str) -> None:
    """Structured output wants every object closed (docs: structured outputs, JSON Schema limitations)."""
    if isinstance(schema, list):
        for each in schema:
            _check_closed(each, where)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise invalid(where, "For 'object' type, 'additionalProperties' must be explicitly set to false")
    for name, part in schema.items():
        named = name in ("properties", "$defs", "definitions") and isinstance(part, dict)
        _check_closed(list(part.values()) if named else part, where)


def _check_thinking(body: Mapping[str, Any]) -> None:
    thinking = body.get("thinking") or {}
    kind = thinking.get("type")
    if kind not in (None, *_THINKING):
        raise invalid(
            "thinking", f"Input tag '{kind}' found using 'type' does not match any of the expected tags"
        )
    fields = ("type", "budget_tokens", "display") if kind == "enabled" else ("type", "display")
    only(thinking, f"thinking.{kind}", fields)
    if kind == "enabled":
        _whole(thinking.get("budget_tokens"), "thinking.enabled.budget_tokens", LEAST_THINKING)
        if thinking["budget_tokens"] >= body["max_tokens"]:
            raise ComplaintError(
                Complaint(message="`max_tokens` must be greater than `thinking.budget_tokens`.")
            )
    if kind in ("enabled", "adaptive"):
        if body.get("temperature", 1) != 1:
            message = "`temperature` may only be set to 1 when thinking is enabled."
            raise ComplaintError(Complaint(message=message))
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            message = "Thinking may not be enabled when tool_choice forces tool use."
            raise ComplaintError(Complaint(message=message))


def _stops(stops: Any) -> tuple[str, ...]:
    if stops is None:
        return ()
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise invalid("stop_sequences", "Input should be a valid list of strings")
    if not all(stop.strip() for stop in stops):
        raise invalid("stop_sequences", "each stop sequence must contain non-whitespace")
    return tuple(stops)


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise invalid(where, "Input should be an object")
    return value


def _whole(value: Any, where: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(where, "Input should be a valid integer")
    if value < least:
        raise invalid(where, f"Input should be greater than or equal to {least}")


def _share(value: Any, where: str, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(where, "Input should be a valid number")
    if not 0 <= value <= most:
        bound = f"less than or equal to {most}" if value > most else "greater than or equal to 0"
        raise invalid(where, f"Input should be {bound}")
