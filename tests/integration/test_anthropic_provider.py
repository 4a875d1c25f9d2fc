"""Anthropic's provider on real loopback sockets: what goes out, and what its answers and errors become.

The answers are written by hand after platform.claude.com/docs/en/api (messages, errors, rate limits).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from batchmill.cache.policy import storable
from batchmill.errors import SettingsError
from batchmill.money.usage import Usage
from batchmill.providers.anthropic.wire import Anthropic
from batchmill.providers.base import Call, Probe, Reply, Verdict
from batchmill.requests.model import Endpoint
from tests.support.provider_servers import KEY, http, misbehaving
from tests.support.vendors import Seen, through, told, with_provider

SECOND_KEY = "second-test-key-9876543210"
NOW = 1_795_165_200.0  # Fri, 20 Nov 2026 09:00:00 GMT
MODEL = "claude-sonnet-4-6"

WHOLE: dict[str, Any] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [
        {"type": "thinking", "thinking": "A greeting.", "signature": "EqQB"},
        {"type": "text", "text": "Hello!"},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 12,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 25},
        "server_tool_use": {"web_search_requests": 0},
        "service_tier": "standard",
    },
}


def chat(account: int = 0, endpoint: Endpoint = Endpoint.CHAT, **more: Any) -> Call:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **more}
    return Call(
        endpoint=endpoint,
        model=MODEL,
        body=orjson.dumps(body),
        client_request_id="r1/1",
        timeout_s=5.0,
        account=account,
    )


def make(base_url: str, api_keys: Sequence[str | SecretStr] = (KEY, SECOND_KEY)) -> Anthropic:
    return Anthropic(base_url=base_url, api_keys=api_keys, clock=lambda: NOW)


def reply_to(status: int, content: Any, *headers: str) -> Reply:
    """What becomes of an answer."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return through(make, told(http(status, body, *headers)), chat())[0]


def error(type_: str, message: str = "no", **details: Any) -> dict[str, Any]:
    """An error as Anthropic writes it."""
    told = {"type": type_, "message": message} | ({"details": details} if details else {})
    return {"type": "error", "error": told, "request_id": "req_011"}


# what goes out


def test_a_request_goes_out_in_anthropics_words() -> None:
    """Its address, version, key and body; our id; nothing of OpenAI's."""
    seen: Seen = []
    through(make, told(http(200, orjson.dumps(WHOLE)), seen), chat(temperature=0.5, user="u-1"))
    head, body = seen[0]
    lines = head.lower().split("\r\n")
    assert head.startswith("POST /v1/messages HTTP/1.1\r\n")
    assert f"x-api-key: {KEY}" in lines
    assert "anthropic-version: 2023-06-01" in lines
    assert "content-type: application/json" in lines
    assert "x-client-request-id: r1/1" in lines
    assert "authorization" not in head.lower()
    assert orjson.loads(body) == {
        "model": MODEL,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "temperature": 0.5,
        "metadata": {"user_id": "u-1"},
    }


def test_each_account_has_its_key() -> None:
    """The second account's key goes out when it is asked for, secret or plain."""
    seen: Seen = []
    through(
        lambda url: make(url, [KEY, SecretStr(SECOND_KEY)]),
        told(http(200, orjson.dumps(WHOLE)), seen),
        chat(account=1),
        chat(account=0),
    )
    assert f"x-api-key: {SECOND_KEY}\r\n" in seen[0][0]
    assert KEY not in seen[0][0]
    assert f"x-api-key: {KEY}\r\n" in seen[1][0]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/v1/messages"),
        ("/", "/v1/messages"),
        ("/proxy/", "/proxy/v1/messages"),
        ("?a=b", "/v1/messages?a=b"),
    ],
)
def test_addressing_is_the_sdks(path: str, target: str) -> None:
    """As ANTHROPIC_BASE_URL is read; a proxy's path and query are kept."""
    seen: Seen = []
    through(lambda url: make(url + path), told(http(200, orjson.dumps(WHOLE)), seen), chat())
    assert seen[0][0].split(" ")[1] == target


def test_what_cannot_be_said_is_not_sent() -> None:
    """It is refused here, names its field, and costs no call."""
    seen: Seen = []
    calls = [chat(seed=7), chat(endpoint=Endpoint.EMBEDDINGS)]
    replies = through(make, told(http(200, orjson.dumps(WHOLE)), seen), *calls)
    assert [(reply.verdict, reply.error_code, reply.status_code) for reply in replies] == [
        (Verdict.REFUSED, "unsupported_parameter", None)
    ] * 2
    assert replies[0].error_message == "'seed' has no counterpart at Anthropic; leave it out"
    assert replies[1].error_message == "'/v1/embeddings' is not offered by Anthropic"
    assert seen == []


# what comes back


def test_an_answer_is_openais() -> None:
    """Verdict, reason, usage to the token, request id, and a body in OpenAI's shape."""
    reply = reply_to(200, WHOLE, "request-id: req_018EeWyXxfu5pfWkrYcMdjWG")
    assert (reply.verdict, reply.status_code, reply.error_code) == (Verdict.ANSWERED, 200, "")
    assert (reply.finish_reason, reply.answer_model) == ("stop", MODEL)
    assert reply.provider_request_id == "req_018EeWyXxfu5pfWkrYcMdjWG"
    assert reply.usage == Usage(
        input_tokens=142,
        cached_tokens=100,
        cache_write_5m_tokens=10,
        cache_write_1h_tokens=20,
        output_tokens=40,
        reasoning_tokens=25,
    )
    assert reply.body is not None
    assert orjson.loads(reply.body) == {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "object": "chat.completion",
        "created": 1_795_165_200,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello!",
                    "refusal": None,
                    "reasoning_content": "A greeting.",
                    "thinking_blocks": [{"type": "thinking", "thinking": "A greeting.", "signature": "EqQB"}],
                },
                "logprobs": None,
                "finish_reason": "stop",
                "native_finish_reason": "end_turn",
            }
        ],
        "usage": {
            "prompt_tokens": 142,
            "completion_tokens": 40,
            "total_tokens": 182,
            "prompt_tokens_details": {
                "cached_tokens": 100,
                "cache_write_tokens": 30,
                "cache_write_tokens_details": {"ttl_12h_tokens": 20},
            },
            "completion_tokens_details": {"reasoning_tokens": 25},
        },
        "service_tier": "default",
    }


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason", "kept"),
    [
        ("end_turn", "stop", True),
        ("tool_use", "tool_calls", True),
        ("max_tokens", "length", False),
        ("refusal", "content_filter", False),
    ],
)
def test_only_complete_answers_are_kept_for_others(stop_reason: str, finish_reason: str, kept: bool) -> None:
    """Every one is answered and billed; what is cut or filtered stays out of the cache."""
    reply = reply_to(200, WHOLE | {"stop_reason": stop_reason})
    assert (reply.verdict, reply.finish_reason) == (Verdict.ANSWERED, finish_reason)
    assert storable(reply, Endpoint.CHAT) is kept


def test_an_answer_without_a_word_is_answered() -> None:
    """All of its tokens went into something that is not shown."""
    reply = reply_to(200, WHOLE | {"content": []})
    assert reply.verdict is Verdict.ANSWERED
    assert reply.usage is not None


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"", b"{", b"[]", b'{"type":"message"}', orjson.dumps(WHOLE | {"stop_reason": None})],
)
def test_what_cannot_be_read_is_unknown(answer: bytes) -> None:
    """It may have been billed."""
    assert reply_to(200, answer).verdict is Verdict.UNKNOWN


def test_the_usage_of_an_unknown_answer_is_kept() -> None:
    """So that its cost is known where Anthropic names it."""
    reply = reply_to(200, WHOLE | {"stop_reason": None})
    assert reply.usage is not None
    assert reply.usage.input_tokens == 142


ERRORS: list[tuple[int, dict[str, Any], Verdict, str]] = [
    (400, error("invalid_request_error"), Verdict.REFUSED, "invalid_request_error"),
    (
        400,
        error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        Verdict.BLOCKED,
        "invalid_request_error",
    ),
    (
        400,
        error("invalid_request_error", "You have reached your specified API usage limits. You will"),
        Verdict.BLOCKED,
        "invalid_request_error",
    ),
    (
        400,
        error("invalid_request_error", "tool 'Your credit balance is too low': no such"),
        Verdict.REFUSED,
        "invalid_request_error",
    ),
    (
        400,
        error("invalid_request_error", error_code="organization_on_hold"),
        Verdict.BLOCKED,
        "organization_on_hold",
    ),
    (401, error("authentication_error"), Verdict.BLOCKED, "authentication_error"),
    (402, error("billing_error"), Verdict.BLOCKED, "billing_error"),
    (403, error("permission_error"), Verdict.BLOCKED, "permission_error"),
    (404, error("not_found_error"), Verdict.REFUSED, "not_found_error"),
    (408, error("timeout_error"), Verdict.RETRY, "timeout_error"),
    (409, error("conflict_error"), Verdict.RETRY, "conflict_error"),
    (413, error("request_too_large"), Verdict.REFUSED, "request_too_large"),
    (429, error("rate_limit_error"), Verdict.THROTTLED, "rate_limit_error"),
    (
        429,
        error("rate_limit_error", error_code="ramp_limit_exceeded"),
        Verdict.THROTTLED,
        "ramp_limit_exceeded",
    ),
    (
        429,
        error("rate_limit_error", error_code="enforced_spend_limit_reached"),
        Verdict.BLOCKED,
        "enforced_spend_limit_reached",
    ),
    (
        429,
        error("rate_limit_error", error_code="contract_spend_limit_reached"),
        Verdict.BLOCKED,
        "contract_spend_limit_reached",
    ),
    (
        402,
        error("billing_error", error_code="linked_organization_spend_limit_reached"),
        Verdict.BLOCKED,
        "linked_organization_spend_limit_reached",
    ),
    (500, error("api_error"), Verdict.RETRY, "api_error"),
    (503, error("api_error"), Verdict.RETRY, "api_error"),
    (504, error("timeout_error"), Verdict.RETRY, "timeout_error"),
    (529, error("overloaded_error"), Verdict.RETRY, "overloaded_error"),
    (200, error("overloaded_error"), Verdict.RETRY, "overloaded_error"),
    (200, error("api_error"), Verdict.RETRY, "api_error"),
    (200, error("rate_limit_error"), Verdict.THROTTLED, "rate_limit_error"),
    (200, error("billing_error"), Verdict.BLOCKED, "billing_error"),
    (200, error("request_too_large"), Verdict.REFUSED, "request_too_large"),
]


@pytest.mark.parametrize(("status", "content", "verdict", "code"), ERRORS)
def test_every_error_has_its_verdict(
    status: int, content: dict[str, Any], verdict: Verdict, code: str
) -> None:
    """Retry, wait, fail over or fail for good; by the code of the details, the type, or the first words."""
    reply = reply_to(status, content)
    assert (reply.verdict, reply.error_code, reply.status_code) == (verdict, code, status)


def test_an_error_is_shown_as_openais() -> None:
    """Message, type, param and code, whatever Anthropic's has beside."""
    content = error("rate_limit_error", "slower, please", error_code="ramp_limit_exceeded")
    reply = reply_to(429, content, "request-id: req_1")
    assert reply.body is not None
    assert orjson.loads(reply.body) == {
        "error": {
            "message": "slower, please",
            "type": "rate_limit_error",
            "param": None,
            "code": "ramp_limit_exceeded",
        }
    }
    assert (reply.error_message, reply.provider_request_id) == ("slower, please", "req_1")


def test_an_error_without_json_has_no_body() -> None:
    """A proxy's page in front of Anthropic; its status is believed."""
    reply = reply_to(529, b"<html><title>overloaded</title></html>")
    assert (reply.verdict, reply.body, reply.error_message) == (Verdict.RETRY, None, "overloaded")


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, ["retry-after: 7"], 7.0),
        (529, ["retry-after: 3"], 3.0),
        (
            429,
            [
                "retry-after: 7",
                "anthropic-ratelimit-requests-remaining: 0",
                "anthropic-ratelimit-requests-reset: 2026-11-20T09:01:00Z",
            ],
            7.0,
        ),
        (
            429,
            [
                "anthropic-ratelimit-requests-remaining: 0",
                "anthropic-ratelimit-requests-reset: 2026-11-20T09:00:04Z",
                "anthropic-ratelimit-input-tokens-remaining: 0",
                "anthropic-ratelimit-input-tokens-reset: 2026-11-20T09:00:30Z",
                "anthropic-ratelimit-output-tokens-remaining: 9",
                "anthropic-ratelimit-output-tokens-reset: 2026-11-20T09:00:59Z",
            ],
            30.0,
        ),
        (
            429,
            ["anthropic-ratelimit-requests-remaining: 0", "anthropic-ratelimit-requests-reset: soon"],
            None,
        ),
        (429, [], None),
        (400, ["retry-after: 7"], None),
    ],
)
def test_how_long_to_wait(status: int, headers: list[str], wait_s: float | None) -> None:
    """`retry-after`, else the latest reset of what has run out, by the clock that is given."""
    assert reply_to(status, error("x"), *headers).retry_after_s == wait_s


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize("key", [KEY, SECOND_KEY])
def test_a_key_never_shows(status: int, key: str) -> None:
    """Neither account's, in no part of a reply to either, however the provider echoes it."""
    content = error("authentication_error", f"invalid x-api-key {key}")
    answer = http(status, orjson.dumps(content), f"request-id: {key}")
    for reply in through(make, told(answer), chat(account=0), chat(account=1)):
        assert reply.verdict is not Verdict.ANSWERED
        assert key not in repr(reply)


def test_a_key_never_shows_in_messages_of_ours() -> None:
    """Nor in how the provider prints itself, nor in what it says of bad settings."""
    with pytest.raises(SettingsError, match="anthropic") as caught:
        make("https://h", ["two words-secret"])
    assert "secret" not in str(caught.value) + caught.value.hint
    made = make("https://h")
    assert KEY not in repr(made) + repr(vars(made)["_reader"])


def test_no_connection_is_unreachable() -> None:
    """Nothing was sent, nothing billed."""

    async def run() -> Reply:
        async with misbehaving(told(b"")) as base_url:
            address = base_url.removesuffix("/v1")
        made = make(address)
        try:
            return await made.call(chat())
        finally:
            await made.close()

    assert asyncio.run(run()).verdict is Verdict.UNREACHABLE


# the probe


@pytest.mark.parametrize(
    ("status", "content", "code"),
    [
        (200, {"data": [], "has_more": False}, ""),
        (401, error("authentication_error", "invalid x-api-key"), "authentication_error"),
    ],
)
def test_the_probe_asks_for_the_models_with_the_accounts_key(status: int, content: Any, code: str) -> None:
    """It costs nothing, and tells whether the key is known."""
    seen: Seen = []

    async def use(made: Anthropic) -> Probe:
        return await made.probe(account=1)

    probe = with_provider(make, told(http(status, orjson.dumps(content)), seen), use)
    assert probe.error_code == code
    head = seen[0][0]
    assert head.startswith("GET /v1/models HTTP/1.1\r\n")
    assert f"x-api-key: {SECOND_KEY}\r\n" in head
    assert "anthropic-version: 2023-06-01\r\n" in head
