"""Gemini over HTTP and over both of its SDKs: whoever carries a call, answer, usage and verdict are the same."""

import asyncio
import gzip
import re
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from batchmill.cache.policy import storable
from batchmill.errors import SettingsError
from batchmill.money.usage import Usage
from batchmill.providers.base import Reply, Verdict
from batchmill.providers.gemini import legacy_words, transport
from batchmill.providers.gemini.wire import CHAT_FIELDS, Gemini
from batchmill.requests.model import Endpoint
from tests.support.gemini_servers import (
    FIRST_KEY,
    SECOND_KEY,
    TRANSPORTS,
    WHOLE,
    Asked,
    Make,
    answering,
    ask,
    gemini,
    legacy,
    probe_of,
    read_request,
    reply_of,
)
from tests.support.provider_servers import http, reset


@pytest.fixture(params=TRANSPORTS)
def make(request: pytest.FixtureRequest) -> Make:
    """Each of the transports."""
    return TRANSPORTS[request.param]


def answered_with(answer: Any, make: Make, status: int = 200, *headers: str, **body: Any) -> Reply:
    return reply_of(make, answering(status, answer, Asked(), *headers), ask(**body))


def test_an_answer_is_the_same_whoever_carries_it(make: Make) -> None:
    """Verdict, usage, reason, model and content."""
    reply = answered_with(WHOLE, make)
    assert (reply.verdict, reply.status_code, reply.error_code) == (Verdict.ANSWERED, 200, "")
    assert (reply.finish_reason, reply.answer_model) == ("stop", "gemini-2.5-flash")
    assert reply.provider_request_id == "resp-1"
    assert reply.usage == Usage(input_tokens=5, output_tokens=2)
    assert storable(reply, Endpoint.CHAT)
    assert reply.body is not None
    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == "hi"


def test_the_request_is_addressed_and_signed(make: Make) -> None:
    """Model and verb in the address, the key and our id in headers; asked once."""
    asked = Asked()
    reply_of(make, answering(200, WHOLE, asked), ask())
    [(head, body)] = asked
    lines = head.lower().splitlines()
    assert (
        lines[0].split("?")[0].removesuffix(" http/1.1")
        == "post /v1beta/models/gemini-2.5-flash:generatecontent"
    )
    assert f"x-goog-api-key: {FIRST_KEY}".lower() in lines
    assert "x-client-request-id: r1/1" in lines
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hello"}]}]


def test_the_call_goes_out_with_its_accounts_key(make: Make) -> None:
    """The second account's key, for calls and probes."""
    asked = Asked()
    reply_of(make, answering(200, WHOLE, asked), ask(account=1))
    probe_of(make, answering(200, {"models": []}, asked), account=1)
    assert len(asked) == 2
    assert all(SECOND_KEY in head and FIRST_KEY not in head for head, _ in asked)


RICH: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,+//+"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at":{"x":1.5}}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a tree"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Looks.",
                "parameters": {
                    "type": "object",
                    "properties": {"at": {"type": "object", "properties": {"x": {"type": "number"}}}},
                    "required": ["at"],
                    "additionalProperties": False,
                },
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 50,
    "stop": ["END"],
    "n": 2,
    "response_format": {"type": "json_object"},
}


@pytest.mark.parametrize("make", [TRANSPORTS["google-genai"]], ids=["google-genai"])
def test_the_official_sdk_sends_the_same_request(make: Make) -> None:
    """Instructions, images, calls, results, schemas and settings, field for field."""
    ours, theirs = Asked(), Asked()
    rich = RICH | {"seed": 7, "logprobs": True, "top_logprobs": 2, "reasoning_effort": "low"}
    reply_of(Gemini, answering(200, WHOLE, ours), ask(**rich))
    reply_of(make, answering(200, WHOLE, theirs), ask(**rich))
    [(_, said)], [(_, carried)] = ours, theirs
    carried["systemInstruction"].pop("role", None)  # it says who instructs, which goes without saying
    assert in_json_names(carried) == said


def in_json_names(value: Any) -> Any:
    """With `mime_type` as `mimeType`, `-_` in base64 as `+/`: the SDK's ways, which Gemini takes as well."""
    if isinstance(value, str) and value == "-__-":
        return "+//+"
    if isinstance(value, list):
        return [in_json_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"_(.)", lambda m: m[1].upper(), key): in_json_names(inner) for key, inner in value.items()
    }


def test_the_old_sdk_sends_the_same_conversation() -> None:
    """Everything that it has a field for; schemas in its own words."""
    ours, theirs = Asked(), Asked()
    reply_of(Gemini, answering(200, WHOLE, ours), ask(**RICH))
    reply_of(legacy, answering(200, WHOLE, theirs), ask(**RICH))
    [(_, said)], [(_, carried)] = ours, theirs
    assert carried["contents"] == said["contents"]
    assert carried["systemInstruction"] == said["systemInstruction"]
    assert carried["generationConfig"] == said["generationConfig"]
    declared = carried["tools"][0]["functionDeclarations"][0]
    assert declared["parameters"]["properties"]["at"]["properties"] == {"x": {"type": 2}}
    assert carried["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["look"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"seed": 7}, "seed"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image_url",
                                "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
                            }
                        ],
                    }
                ]
            },
            "messages[].image_url.detail",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
            "tools[].function.strict",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {
                        "role": "assistant",
                        "content": "b",
                        "extra_content": {"google": {"thought_signature": "AAAA"}},
                    },
                    {"role": "user", "content": "c"},
                ]
            },
            "messages[].extra_content",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/x"}}}},
            "response_format.$ref",
        ),
    ],
)
def test_the_old_sdk_names_what_it_cannot_say(body: dict[str, Any], named: str) -> None:
    """Nothing is left out in silence; nothing is sent."""
    asked = Asked()
    reply = reply_of(legacy, answering(200, WHOLE, asked), ask(**body))
    assert (reply.verdict, reply.error_code) == (Verdict.REFUSED, "unsupported_parameter")
    assert named in reply.error_message
    assert not asked


def test_every_row_of_the_old_sdk_is_one_of_geminis() -> None:
    """They stand in the place of its own."""
    assert set(legacy_words.FIELDS) < set(CHAT_FIELDS)


def test_a_slash_in_a_models_name_goes_out_encoded() -> None:
    """The old SDK would send nothing at all, and call it sent."""
    asked = Asked()
    reply = reply_of(legacy, answering(200, WHOLE, asked), ask("sandbox/any"))
    assert reply.verdict is Verdict.ANSWERED
    assert asked[0][0].startswith("POST /v1beta/models/sandbox%2Fany:generateContent")


def test_the_old_sdks_numbers_are_words() -> None:
    """It asks for enums as numbers, and Gemini does as it is asked: reasons and modalities are still read."""
    answer = {
        "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": 2}],
        "usageMetadata": {
            "promptTokenCount": 40,
            "candidatesTokenCount": 2,
            "totalTokenCount": 42,
            "promptTokensDetails": [{"modality": 4, "tokenCount": 30}],
        },
    }
    reply = answered_with(answer, legacy)
    assert (reply.finish_reason, reply.usage) == (
        "length",
        Usage(input_tokens=40, output_tokens=2, audio_input_tokens=30),
    )


def test_a_reason_newer_than_the_old_sdk_is_no_whole_answer() -> None:
    """An unknown number is told as it is beside OpenAI's word, and never kept as complete."""
    answer = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": 77}]}
    reply = answered_with(answer, legacy)
    assert (reply.verdict, reply.finish_reason) == (Verdict.ANSWERED, "length")
    assert b'"native_finish_reason":"FINISHREASON_77"' in (reply.body or b"")
    assert not storable(reply, Endpoint.CHAT)


# usage


USAGES: list[tuple[dict[str, int | list[dict[str, Any]]], Usage]] = [
    (
        {
            "promptTokenCount": 100,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 300,
            "totalTokenCount": 420,
        },
        Usage(input_tokens=100, output_tokens=320, reasoning_tokens=300),
    ),
    (  # as the old SDK tells it: thinking is what the total is more
        {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 420},
        Usage(input_tokens=100, output_tokens=320, reasoning_tokens=300),
    ),
    (
        {
            "promptTokenCount": 100,
            "toolUsePromptTokenCount": 50,
            "candidatesTokenCount": 20,
            "totalTokenCount": 180,
        },
        Usage(input_tokens=150, output_tokens=30, reasoning_tokens=10),
    ),
    (
        {
            "promptTokenCount": 2000,
            "cachedContentTokenCount": 1024,
            "candidatesTokenCount": 5,
            "totalTokenCount": 2005,
        },
        Usage(input_tokens=2000, cached_tokens=1024, output_tokens=5),
    ),
    (
        {
            "promptTokenCount": 60,
            "candidatesTokenCount": 30,
            "totalTokenCount": 90,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 10},
                {"modality": "AUDIO", "tokenCount": 50},
            ],
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
        },
        Usage(input_tokens=60, output_tokens=30, audio_input_tokens=50, audio_output_tokens=30),
    ),
    (
        {
            "promptTokenCount": 60,
            "toolUsePromptTokenCount": 20,
            "candidatesTokenCount": 3,
            "totalTokenCount": 83,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}],
            "toolUsePromptTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}],
        },
        Usage(input_tokens=80, output_tokens=3, audio_input_tokens=57),
    ),
    ({"promptTokenCount": 9, "totalTokenCount": 9}, Usage(input_tokens=9)),
]


@pytest.mark.parametrize(("told", "usage"), USAGES)
def test_usage_is_exact_whoever_carries_it(make: Make, told: dict[str, Any], usage: Usage) -> None:
    """Cached tokens within the input, thinking within the output, named or not."""
    assert answered_with({**WHOLE, "usageMetadata": told}, make).usage == usage


def test_an_answer_without_usage_has_unknown_cost(make: Make) -> None:
    """None, not zero."""
    answer = {name: value for name, value in WHOLE.items() if name != "usageMetadata"}
    assert answered_with(answer, make).usage is None


# errors


def error(status: int, word: str, message: str = "no", *details: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"code": status, "message": message, "status": word}
    return {"error": told | ({"details": list(details)} if details else {})}


def info(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def retry_in(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota(*quota_ids: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": quota_id, "quotaValue": "250"} for quota_id in quota_ids],
    }


PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
NO_MODEL = (
    "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent. "
    "Call ListModels to see the list of available models and their supported methods."
)
TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."

ERRORS: list[tuple[int, dict[str, Any], Verdict, str, float | None]] = [
    (429, error(429, "RESOURCE_EXHAUSTED"), Verdict.THROTTLED, "resource_exhausted", None),
    (
        429,
        error(429, "RESOURCE_EXHAUSTED", "no", quota(PER_MINUTE), retry_in("36s")),
        Verdict.THROTTLED,
        "resource_exhausted",
        36.0,
    ),
    (
        429,
        error(429, "RESOURCE_EXHAUSTED", "no", retry_in("36.5s")),
        Verdict.THROTTLED,
        "resource_exhausted",
        36.5,
    ),
    (
        429,
        error(429, "RESOURCE_EXHAUSTED", "no", quota(PER_MINUTE, PER_DAY), retry_in("47s")),
        Verdict.THROTTLED,
        "resource_exhausted",
        3600.0,
    ),
    (
        429,
        error(429, "RESOURCE_EXHAUSTED", "no", quota(PER_DAY)),
        Verdict.THROTTLED,
        "resource_exhausted",
        3600.0,
    ),
    (
        429,
        error(429, "RESOURCE_EXHAUSTED", "no", quota(PER_DAY), retry_in("7200s")),
        Verdict.THROTTLED,
        "resource_exhausted",
        7200.0,
    ),
    (
        429,
        error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
        Verdict.BLOCKED,
        "credit_balance_exhausted",
        None,
    ),
    (
        429,
        error(429, "RESOURCE_EXHAUSTED", "Your project has exceeded its monthly spending cap."),
        Verdict.BLOCKED,
        "project_spend_limit_exceeded",
        None,
    ),
    (
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            info("API_KEY_INVALID"),
        ),
        Verdict.BLOCKED,
        "api_key_invalid",
        None,
    ),
    (400, error(400, "INVALID_ARGUMENT", "API key expired."), Verdict.BLOCKED, "api_key_invalid", None),
    (
        400,
        error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        Verdict.BLOCKED,
        "failed_precondition",
        None,
    ),
    (400, error(400, "INVALID_ARGUMENT", "Bad."), Verdict.REFUSED, "invalid_argument", None),
    (400, error(400, "INVALID_ARGUMENT", TOO_LONG), Verdict.REFUSED, "context_length_exceeded", None),
    (401, error(401, "UNAUTHENTICATED"), Verdict.BLOCKED, "unauthenticated", None),
    (402, error(402, "RESOURCE_EXHAUSTED"), Verdict.BLOCKED, "resource_exhausted", None),
    (200, error(429, "RESOURCE_EXHAUSTED"), Verdict.THROTTLED, "resource_exhausted", None),
    (402, error(402, "PAYMENT_REQUIRED"), Verdict.BLOCKED, "payment_required", None),
    (403, error(403, "PERMISSION_DENIED"), Verdict.BLOCKED, "permission_denied", None),
    (
        403,
        error(
            403, "PERMISSION_DENIED", "You do not have permission to access the File x or it may not exist."
        ),
        Verdict.REFUSED,
        "file_not_found",
        None,
    ),
    (404, error(404, "NOT_FOUND", NO_MODEL), Verdict.REFUSED, "model_not_found", None),
    (404, error(404, "NOT_FOUND"), Verdict.REFUSED, "not_found", None),
    (413, error(413, "INVALID_ARGUMENT"), Verdict.REFUSED, "invalid_argument", None),
    (425, {}, Verdict.RETRY, "http_425", None),
    (499, error(499, "CANCELLED"), Verdict.UNKNOWN, "cancelled", None),
    (500, error(500, "INTERNAL"), Verdict.RETRY, "internal", None),
    (503, error(503, "UNAVAILABLE", "The model is overloaded."), Verdict.RETRY, "unavailable", None),
    (504, error(504, "DEADLINE_EXCEEDED"), Verdict.RETRY, "deadline_exceeded", None),
    (524, {}, Verdict.UNKNOWN, "http_524", None),
]


@pytest.mark.parametrize(("status", "answer", "verdict", "code", "wait_s"), ERRORS)
def test_errors_mean_the_same_whoever_carries_them(
    make: Make, status: int, answer: dict[str, Any], verdict: Verdict, code: str, wait_s: float | None
) -> None:
    """Verdict, code and wait; asked once, whatever the SDK would like to repeat."""
    asked = Asked()
    reply = reply_of(make, answering(status, answer, asked), ask())
    assert (reply.verdict, reply.error_code, reply.retry_after_s) == (verdict, code, wait_s)
    assert reply.status_code == status
    assert len(asked) == 1


def test_an_error_has_openais_shape(make: Make) -> None:
    """Message, type, param and code, as readers of OpenAI's errors look for them."""
    reply = answered_with(error(404, "NOT_FOUND", NO_MODEL), make, 404)
    assert reply.body is not None
    assert orjson.loads(reply.body) == {
        "error": {"message": NO_MODEL, "type": "not_found", "param": None, "code": "model_not_found"}
    }


def test_retry_after_comes_first(make: Make) -> None:
    """A header outranks the error's own wait."""
    answer = error(429, "RESOURCE_EXHAUSTED", "no", retry_in("36s"))
    assert answered_with(answer, make, 429, "retry-after: 2").retry_after_s == 2.0


def test_a_key_never_shows(make: Make) -> None:
    """Neither in the message nor in the body of an error that repeats it."""
    reply = answered_with(error(400, "INVALID_ARGUMENT", f"bad key {FIRST_KEY} or {SECOND_KEY}"), make, 400)
    shown = f"{reply.error_message} {reply.body!r}"
    assert "[key]" in shown
    assert FIRST_KEY not in shown
    assert SECOND_KEY not in shown


def test_an_error_that_is_no_json_is_quoted(make: Make) -> None:
    """A proxy's page becomes a message."""
    reply = answered_with(b"<html><body>Bad gateway</body></html>", make, 502)
    assert (reply.verdict, reply.error_code, reply.error_message) == (
        Verdict.RETRY,
        "http_502",
        "Bad gateway",
    )


def test_a_200_that_is_no_answer_is_unknown(make: Make) -> None:
    """Sent, and no telling whether it was billed."""
    reply = answered_with({"hello": "there"}, make)
    assert (reply.verdict, reply.error_code) == (Verdict.UNKNOWN, "malformed_answer")


@pytest.mark.parametrize("depth", [260, 900])
def test_arguments_nested_beyond_use_are_no_answer_and_paid_for(make: Make, depth: int) -> None:
    """A model that has lost its way opens brackets without end: nothing is raised, and its usage counts."""
    arguments = '{"a":' * depth + "1" + "}" * depth
    parts = f'[{{"functionCall":{{"name":"f","args":{arguments}}}}}]'
    usage = '{"promptTokenCount":5,"candidatesTokenCount":2}'
    answer = (
        f'{{"candidates":[{{"content":{{"parts":{parts}}},"finishReason":"STOP"}}],"usageMetadata":{usage}}}'
    )
    reply = answered_with(answer.encode(), make)
    assert (reply.verdict, reply.error_code) == (Verdict.UNKNOWN, "malformed_answer")
    assert reply.usage == Usage(input_tokens=5, output_tokens=2)


# trouble on the way


@pytest.mark.parametrize("hard", [True, False])
def test_a_lost_connection_is_unknown_and_asked_once(make: Make, hard: bool) -> None:
    """Closed or reset after the request has arrived: no SDK asks again on its own."""
    asked = Asked()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        if hard:
            reset(writer)

    reply = reply_of(make, behave, ask())
    assert reply.verdict is Verdict.UNKNOWN
    assert reply.error_code == ("connection_reset" if hard else "disconnected")
    assert len(asked) == 1


def test_a_redirect_is_not_followed(make: Make) -> None:
    """The address is wrong, and nobody knows who is at the other."""
    asked = Asked()
    reply = reply_of(make, answering(307, {}, asked, "location: /elsewhere"), ask())
    assert (reply.verdict, reply.error_code) == (Verdict.BLOCKED, "redirected")
    assert len(asked) == 1


def test_an_answer_to_be_continued_is_cut(make: Make) -> None:
    """`length`, as any answer that was cut; no SDK asks for the rest on its own."""
    asked = Asked()
    [candidate] = WHOLE["candidates"]
    cut = {
        **WHOLE,
        "candidates": [{**candidate, "finishReason": "CONTINUATION", "continuationToken": "c2ln"}],
    }
    assert reply_of(make, answering(200, cut, asked), ask()).finish_reason == "length"
    assert len(asked) == 1


def test_the_environment_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDKs would read there is given to them instead."""
    for name, value in {
        "GOOGLE_API_KEY": "of-somebody-else",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_CLOUD_PROJECT": "other",
        "GOOGLE_GENAI_API_VERSION": "v1alpha",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    asked = Asked()
    assert reply_of(make, answering(200, WHOLE, asked), ask()).verdict is Verdict.ANSWERED
    assert asked[0][0].startswith("POST /v1beta/models/gemini-2.5-flash:generateContent")
    assert FIRST_KEY in asked[0][0]


def test_a_cut_answer_is_unknown(make: Make) -> None:
    """It ends before its announced end."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        body = orjson.dumps(WHOLE)
        writer.write(http(200, body[:20], length=len(body)))
        await writer.drain()

    reply = reply_of(make, behave, ask())
    assert (reply.verdict, reply.error_code, reply.status_code) == (Verdict.UNKNOWN, "broken_answer", 200)


def test_a_status_is_believed_when_its_body_is_cut(make: Make) -> None:
    """What says no has not been billed, whatever became of its explanation."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(503, b'{"error":', length=200))
        await writer.drain()

    assert reply_of(make, behave, ask()).verdict is Verdict.RETRY


def test_a_silent_server_is_cut_off_in_time(make: Make) -> None:
    """The whole call is bounded, and unknown."""
    release = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await release.wait()

    reply = reply_of(make, behave, ask(timeout_s=0.3))
    assert (reply.verdict, reply.error_code) == (Verdict.UNKNOWN, "request_timeout")
    assert reply.latency_ms < 3000


def test_a_refused_connection_is_unreachable(make: Make) -> None:
    """Nothing was sent: safe to send again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raise AssertionError("nobody calls here")

        reply = reply_of(make, behave, ask(), base_url=base_url)
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")


def test_a_host_that_is_not_found_is_unreachable(make: Make) -> None:
    """Nothing was sent while names are not looked up."""
    reply = reply_of(make, answering(200, WHOLE, Asked()), ask(), base_url="http://nowhere.invalid")
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_that_is_too_large_is_dropped(make: Make, packed: bool) -> None:
    """Its attempt is unknown, and memory is spared; counted as unpacked."""
    large = orjson.dumps({**WHOLE, "more": "x" * 300_000})
    body, headers = (gzip.compress(large), ["content-encoding: gzip"]) if packed else (large, [])
    for most_bytes, verdict in ((len(large) - 1, Verdict.UNKNOWN), (len(large) + 500, Verdict.ANSWERED)):
        behave = answering(200, body, Asked(), *headers)
        reply = reply_of(make, behave, ask(), max_answer_bytes=most_bytes)
        assert (reply.verdict, reply.error_code) == (
            verdict,
            "answer_too_large" if verdict is Verdict.UNKNOWN else "",
        )


@pytest.mark.parametrize("model", ["a?b", "a&b", ".."])
def test_what_an_sdk_does_not_send_is_not_taken_as_sent(model: str) -> None:
    """It refuses some names of models by itself: the line has failed, at no cost, and is not tried again."""
    asked = Asked()
    reply = reply_of(TRANSPORTS["google-genai"], answering(200, WHOLE, asked), ask(model))
    assert (reply.verdict, reply.error_code) == (Verdict.REFUSED, "unsupported_parameter")
    assert "invalid model parameter" in reply.error_message
    assert not asked


class LateThreads(ThreadPoolExecutor):
    """Threads that have begun and wait to be told to go on."""

    def __init__(self) -> None:
        super().__init__(1)
        self.go_on = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        def late() -> Any:
            self.go_on.wait()
            return fn(*args, **kwargs)

        return super().submit(late)


def test_a_call_out_of_time_before_its_thread_has_sent_it_is_not_sent() -> None:
    """It was told as not sent, so nobody knows of what it would cost."""
    asked, threads = Asked(), LateThreads()

    async def run() -> Reply:
        async with gemini(legacy, answering(200, WHOLE, asked)) as made:
            made._threads.shutdown()
            made._threads = threads
            reply: Reply = await made.call(ask(timeout_s=0.05))
            threads.go_on.set()
            await asyncio.to_thread(threads.shutdown)
            return reply

    assert asyncio.run(run()).verdict is Verdict.UNREACHABLE
    assert not asked


def test_a_query_is_not_for_the_old_sdk() -> None:
    """It would write the path behind it."""
    with pytest.raises(SettingsError, match="query"):
        legacy(base_url="http://127.0.0.1:1/deep?api-version=1", api_keys=[FIRST_KEY])


def test_calls_beyond_the_concurrency_wait(make: Make) -> None:
    """At most so many are with the server at a time."""
    at_once = most = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        while True:
            await read_request(reader)
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            writer.write(http(200, orjson.dumps(WHOLE)))

    async def run() -> list[Verdict]:
        async with gemini(make, behave, concurrency=2) as made:
            replies = await asyncio.gather(*(made.call(ask()) for _ in range(6)))
            return [reply.verdict for reply in replies]

    assert asyncio.run(run()) == [Verdict.ANSWERED] * 6
    assert most == 2


# embeddings, probes, settings


def embedded(*vectors: list[float], **more: Any) -> dict[str, Any]:
    return {"embeddings": [{"values": vector} for vector in vectors]} | more


def test_embeddings_are_answered(make: Make) -> None:
    """Several texts, one request; vectors in order, usage where Gemini tells it."""
    asked = Asked()
    answer = embedded([0.25, -1.5], [1e-7, 3.0], usageMetadata={"promptTokenCount": 4})
    call = ask("gemini-embedding-001", Endpoint.EMBEDDINGS, input=["a", "b"], dimensions=2)
    reply = reply_of(make, answering(200, answer, asked), call)
    [(head, body)] = asked
    assert ":batchembedcontents" in head.lower().splitlines()[0]
    texts = [each["content"]["parts"][0]["text"] for each in body["requests"]]
    assert (texts, {each["outputDimensionality"] for each in body["requests"]}) == (["a", "b"], {2})
    assert {each["model"] for each in body["requests"]} == {"models/gemini-embedding-001"}
    assert (reply.verdict, reply.usage) == (Verdict.ANSWERED, Usage(input_tokens=4))
    assert storable(reply, Endpoint.EMBEDDINGS)
    assert reply.body is not None
    assert [item["embedding"] for item in orjson.loads(reply.body)["data"]] == [[0.25, -1.5], [1e-7, 3.0]]


def test_embeddings_without_usage_have_unknown_cost(make: Make) -> None:
    """Older models tell none: None, not zero."""
    reply = reply_of(
        make, answering(200, embedded([1.0]), Asked()), ask("text-embedding-004", Endpoint.EMBEDDINGS)
    )
    assert (reply.verdict, reply.usage) == (Verdict.ANSWERED, None)


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (200, {"models": [{"name": "models/gemini-2.5-flash"}]}, ""),
        (
            400,
            error(400, "INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID")),
            "api_key_invalid",
        ),
        (503, error(503, "UNAVAILABLE"), "unavailable"),
    ],
)
def test_a_probe_asks_for_the_models(make: Make, status: int, answer: Any, code: str) -> None:
    """What costs nothing, once."""
    asked = Asked()
    assert probe_of(make, answering(status, answer, asked)).error_code == code
    [(head, _)] = asked
    assert head.startswith("GET /v1beta/models")


@pytest.mark.parametrize("name", ["http", "google-genai"])
def test_the_version_can_be_chosen(name: str) -> None:
    """v1 in the address, for whoever wants nothing but what is stable."""
    asked = Asked()
    reply_of(TRANSPORTS[name], answering(200, WHOLE, asked), ask(), api_version="v1")
    assert asked[0][0].startswith("POST /v1/models/gemini-2.5-flash:generateContent")


def test_an_endpoint_that_gemini_has_not_is_refused(make: Make) -> None:
    """Named, and not sent."""
    asked = Asked()
    reply = reply_of(make, answering(200, WHOLE, asked), ask(endpoint=Endpoint.RESPONSES))
    assert (reply.verdict, reply.error_code) == (Verdict.REFUSED, "unsupported_parameter")
    assert "/v1/responses" in reply.error_message
    assert not asked


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "ftp://h"},
        {"base_url": "https://user:secret-word@h"},
        {"api_keys": ["two words-secret-word"]},
        {"api_version": "secret/../v1"},
    ],
)
def test_unusable_settings_fail_at_start(options: dict[str, Any]) -> None:
    """A bad URL, key or version is named at once, and no secret is shown."""
    with pytest.raises(SettingsError, match="gemini") as caught:
        Gemini(**({"api_keys": [FIRST_KEY]} | options))
    assert "secret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("name", ["google-genai", "google-generativeai"])
def test_an_sdk_without_a_key_fails_at_start(name: str) -> None:
    """It would look for one in the environment."""
    with pytest.raises(SettingsError, match="no API key"):
        TRANSPORTS[name]()


def test_a_missing_sdk_names_its_extra() -> None:
    """What to install, when it is first needed."""
    with pytest.raises(SettingsError) as caught:
        transport.library("batchmill_no_such_sdk", "gemini")
    assert caught.value.hint == "pip install 'batchmill[gemini]'"
