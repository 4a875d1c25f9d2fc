"""OpenRouter's provider on real loopback sockets, and servers of one's own: OpenAI's wire with differences.

The answers are written by hand after openrouter.ai/docs (errors, usage accounting, limits).
"""

from typing import Any

import orjson
import pytest

from batchmill.money.usage import Usage
from batchmill.providers.base import Call, Probe, Reply, Verdict
from batchmill.providers.openai import OpenAICompatible
from batchmill.providers.openai_fields import CHAT
from batchmill.providers.openrouter import OpenRouter, ask_for_cost
from batchmill.requests.model import Endpoint
from tests.support.provider_servers import KEY, WHOLE, http
from tests.support.vendors import Seen, through, told, with_provider

SECOND_KEY = "second-test-key-9876543210"
BODY = b'{ "model":"a/m",  "x": 1.0, "messages":[] }'


def call_of(body: bytes = BODY, endpoint: Endpoint = Endpoint.CHAT, account: int = 0) -> Call:
    return Call(
        endpoint=endpoint,
        model="a/m",
        body=body,
        client_request_id="r1/1",
        timeout_s=5.0,
        account=account,
    )


def make(base_url: str) -> OpenRouter:
    return OpenRouter(base_url=f"{base_url}/api/v1", api_keys=[KEY, SECOND_KEY])


def reply_to(status: int, content: Any, *headers: str) -> Reply:
    """What becomes of an answer."""
    return through(make, told(http(status, orjson.dumps(content), *headers)), call_of())[0]


def test_a_request_asks_for_its_cost() -> None:
    """The body byte for byte but for that wish; the account's key as bearer."""
    seen: Seen = []
    through(make, told(http(), seen), call_of(), call_of(account=1))
    assert [body for _, body in seen] == [
        b'{"usage":{"include":true},"model":"a/m",  "x": 1.0, "messages":[] }'
    ] * 2
    assert seen[0][0].startswith("POST /api/v1/chat/completions HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}\r\n" in seen[0][0]
    assert f"Authorization: Bearer {SECOND_KEY}\r\n" in seen[1][0]


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b"{}", b'{"usage":{"include":true}}'),
        (b" \n{ }", b'{"usage":{"include":true}}'),
        (b'{"a":"the \\"usage\\""}', b'{"usage":{"include":true},"a":"the \\"usage\\""}'),
        (b'{"a":{"usage":1}}', b'{"usage":{"include":true},"a":{"usage":1}}'),
        (b'{"usage":{"include":false}}', b'{"usage":{"include":false}}'),
        (b'{"usage": null}', b'{"usage": null}'),
        (
            b'{"n":123456789012345678901234567890}',
            b'{"usage":{"include":true},"n":123456789012345678901234567890}',
        ),
        (b"[]", b"[]"),
        (b'{"usage"', b'{"usage"'),
    ],
)
def test_the_wish_goes_where_nothing_is_said(body: bytes, sent: bytes) -> None:
    """What the request itself says of it stands, and no number is rounded on the way."""
    assert ask_for_cost(body) == sent


def test_completions_ask_for_their_cost() -> None:
    """They know the same field."""
    seen: Seen = []
    through(make, told(http(), seen), call_of(endpoint=Endpoint.COMPLETIONS))
    assert orjson.loads(seen[0][1])["usage"] == {"include": True}


def test_endpoints_without_that_wish_pass_as_they_are() -> None:
    """Embeddings know no such field."""
    seen: Seen = []
    through(make, told(http(), seen), call_of(endpoint=Endpoint.EMBEDDINGS))
    assert seen[0][1] == BODY


def test_the_cost_in_the_answer_is_reported() -> None:
    """OpenRouter's own word goes before any list of prices."""
    usage = {"prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196, "cost": 0.00095}
    reply = reply_to(200, orjson.loads(WHOLE) | {"usage": usage})
    assert reply.verdict is Verdict.ANSWERED
    assert reply.usage == Usage(input_tokens=194, output_tokens=2, reported_cost_usd="0.000950000000000000")


FLAGGED = {"reasons": ["violence"], "flagged_input": "…", "provider_name": "OpenAI"}


@pytest.mark.parametrize("over_http", [True, False])
@pytest.mark.parametrize(
    ("status", "metadata", "verdict", "code"),
    [
        (400, None, Verdict.REFUSED, "http_400"),
        (401, None, Verdict.BLOCKED, "http_401"),
        (402, None, Verdict.BLOCKED, "http_402"),
        (403, None, Verdict.BLOCKED, "http_403"),
        (403, FLAGGED, Verdict.REFUSED, "input_flagged"),
        (404, None, Verdict.REFUSED, "http_404"),
        (408, None, Verdict.RETRY, "http_408"),
        (413, None, Verdict.REFUSED, "http_413"),
        (429, None, Verdict.THROTTLED, "http_429"),
        (500, None, Verdict.RETRY, "http_500"),
        (502, {"provider_name": "x", "raw": "no provider available"}, Verdict.RETRY, "http_502"),
        (503, None, Verdict.RETRY, "http_503"),
    ],
)
def test_every_error_has_its_verdict(
    status: int, metadata: Any, verdict: Verdict, code: str, over_http: bool
) -> None:
    """By HTTP or inside a 200, an error means the same."""
    content = {"error": {"code": status, "message": "no", "metadata": metadata}}
    reply = reply_to(status if over_http else 200, content)
    assert (reply.verdict, reply.error_code) == (verdict, code)


def test_an_error_in_a_choice_is_an_error() -> None:
    """The model broke off: HTTP 200, a choice, and the error in it."""
    choice = {"index": 0, "message": {"content": "he"}, "error": {"code": 502, "message": "broke off"}}
    reply = reply_to(200, {"id": "gen-1", "choices": [choice]})
    assert (reply.verdict, reply.error_message) == (Verdict.RETRY, "broke off")


def test_an_error_that_names_its_usage_is_paid_for() -> None:
    """What was written until the model broke off is billed."""
    choice = {"index": 0, "message": {"content": "he"}, "error": {"code": 502, "message": "broke off"}}
    usage = {"prompt_tokens": 194, "completion_tokens": 2, "cost": 0.5}
    reply = reply_to(200, {"id": "gen-1", "choices": [choice], "usage": usage})
    assert reply.verdict is Verdict.RETRY
    assert reply.usage == Usage(input_tokens=194, output_tokens=2, reported_cost_usd="0.500000000000000000")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept(status: int) -> None:
    """Where OpenRouter sends it."""
    reply = reply_to(status, {"error": {"code": status, "message": "later"}}, "Retry-After: 12")
    assert reply.retry_after_s == 12.0


@pytest.mark.parametrize("key", [KEY, SECOND_KEY])
def test_a_key_never_shows(key: str) -> None:
    """Whichever account asked."""
    content = {"error": {"code": 401, "message": f"bad {key}", "metadata": {"raw": key}}}
    for reply in through(make, told(http(401, orjson.dumps(content))), call_of(), call_of(account=1)):
        assert key not in repr(reply)


@pytest.mark.parametrize(("status", "code"), [(200, ""), (401, "http_401")])
def test_the_probe_asks_for_the_key(status: int, code: str) -> None:
    """The list of models would be there for anybody."""
    seen: Seen = []
    answer = {"data": {"label": "x"}} if status == 200 else {"error": {"code": 401, "message": "no"}}

    async def use(made: OpenRouter) -> Probe:
        return await made.probe(account=1)

    probe = with_provider(make, told(http(status, orjson.dumps(answer)), seen), use)
    assert probe.error_code == code
    assert seen[0][0].startswith("GET /api/v1/key HTTP/1.1\r\n")
    assert f"Authorization: Bearer {SECOND_KEY}\r\n" in seen[0][0]


@pytest.mark.parametrize("name", [name for name in CHAT if name.isidentifier() and name != "usage"])
def test_every_field_reaches_a_server_of_ones_own(name: str) -> None:
    """Passed through as it is, with whatever is in it; without a key, no Authorization header."""
    seen: Seen = []
    body = orjson.dumps({"model": "m", "messages": [], name: {"any": [1.0]}})
    through(
        lambda url: OpenAICompatible(name="local", base_url=f"{url}/v1"),
        told(http(200, WHOLE), seen),
        call_of(body),
    )
    assert seen[0][1] == body
    assert "authorization" not in seen[0][0].lower()
