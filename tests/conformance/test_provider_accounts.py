"""Whoever is asked, however: the right key goes out and never shows, each call bears its id, and a probe tells."""

import orjson
import pytest

from batchmill.providers.base import Probe, Provider, Reply, Verdict
from batchmill.sandbox.prompts import WireName
from batchmill.sandbox.request import Request
from tests.support.provider_servers import http
from tests.support.vendors import told
from tests.support.ways import KEYS, WAYS, Stage, Way, elsewhere, nowhere

KEY_HEADERS = {
    WireName.OPENAI: ("authorization", "Bearer "),
    WireName.ANTHROPIC: ("x-api-key", ""),
    WireName.GEMINI: ("x-goog-api-key", ""),
}
EMBEDDERS = [way for way in WAYS.values() if way.embedding_model]


def key_of(way: Way, request: Request) -> str:
    """The key that a request came with, alone and where the provider looks for it."""
    header, scheme = KEY_HEADERS[way.wire]
    assert sum(key in value for key in KEYS for value in (*request.headers.values(), request.query)) == 1
    return request.headers[header].removeprefix(scheme)


@pytest.mark.parametrize("account", range(len(KEYS)))
def test_a_call_goes_out_with_its_accounts_key(stage: Stage, way: Way, account: int) -> None:
    """Whichever of the keys it is."""
    [request] = stage.call(way, way.chat(account=account)).heard
    assert key_of(way, request) == KEYS[account]


@pytest.mark.parametrize("account", range(len(KEYS)))
@pytest.mark.parametrize("way", EMBEDDERS, ids=lambda way: way.name)
def test_embeddings_go_out_with_their_accounts_key(stage: Stage, way: Way, account: int) -> None:
    """The same for the other endpoint."""
    [request] = stage.call(way, way.embed(account=account)).heard
    assert key_of(way, request) == KEYS[account]


@pytest.mark.parametrize("account", range(len(KEYS)))
def test_a_probe_goes_out_with_its_accounts_key(stage: Stage, way: Way, account: int) -> None:
    """So that it tells of that key."""
    stage.probe(way, account)
    [request] = stage.sandbox.heard
    assert key_of(way, request) == KEYS[account]


def test_a_call_bears_its_id(stage: Stage, way: Way) -> None:
    """`X-Client-Request-Id`, by every transport."""
    [request] = stage.call(way, way.chat()).heard
    assert request.client_request_id == "r1/1"


@pytest.mark.parametrize("way", EMBEDDERS, ids=lambda way: way.name)
def test_embeddings_bear_their_id(stage: Stage, way: Way) -> None:
    """The same for the other endpoint."""
    [request] = stage.call(way, way.embed()).heard
    assert request.client_request_id == "r1/1"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
def test_a_key_never_shows(way: Way, status: int) -> None:
    """In no part of a reply or a probe, nor of the provider, when the server repeats both in body and headers."""
    both = " and ".join(KEYS)
    error = {"code": both, "type": both, "status": both, "message": f"not {both}"}
    answer = http(
        status,
        orjson.dumps({"error": error, "keys": KEYS}),
        "content-type: application/json",
        f"x-request-id: {both}",
    )

    async def use(provider: Provider) -> tuple[Reply, Probe, str]:
        return await provider.call(way.chat(account=1)), await provider.probe(), repr(provider)

    reply, probe, shown = elsewhere(way, told(answer), use)
    assert reply.verdict is not Verdict.ANSWERED
    assert not [key for key in KEYS if key in f"{reply!r} {probe!r} {shown}"]


def test_a_key_never_shows_in_what_is_no_answer(way: Way) -> None:
    """A 200 of a server that shows what it was told, and says of no error: it is kept, without the keys."""
    body = orjson.dumps({"headers": dict(enumerate(KEYS))} | {"usage": {}}, option=orjson.OPT_NON_STR_KEYS)
    answer = http(200, body, "content-type: application/json")
    reply = elsewhere(way, told(answer), lambda provider: provider.call(way.chat()))
    assert reply.verdict is Verdict.UNKNOWN
    assert b"[key]" in (reply.body or b"")
    assert not [key for key in KEYS if key in repr(reply)]


def test_a_probe_is_well_where_all_is_well(stage: Stage, way: Way) -> None:
    """There, and it knows the key; nothing is charged."""
    assert stage.probe(way).error_code == ""
    [request] = stage.sandbox.heard
    assert request.method == "GET"


BLOCKED = {
    WireName.OPENAI: {"error": {"message": "no such key", "code": "invalid_api_key"}},
    WireName.ANTHROPIC: {
        "type": "error",
        "error": {"type": "authentication_error", "message": "no such key"},
    },
    WireName.GEMINI: {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no such key"}},
}


def test_a_probe_tells_of_a_key_that_is_not_known(way: Way) -> None:
    """By the provider's own word, with its message."""
    answer = http(401, orjson.dumps(BLOCKED[way.wire]), "content-type: application/json")
    probe = elsewhere(way, told(answer), lambda provider: provider.probe())
    codes = ("invalid_api_key", "authentication_error", "unauthenticated")
    assert probe.error_code == codes[list(BLOCKED).index(way.wire)]
    assert probe.error_message == "no such key"


def test_a_probe_tells_where_nobody_is(way: Way) -> None:
    """Refused, which is not the key's fault."""
    assert nowhere(way, lambda provider: provider.probe()).error_code == "connect_failed"


def test_a_call_to_nobody_was_not_sent(way: Way) -> None:
    """Nothing can have been billed."""
    reply = nowhere(way, lambda provider: provider.call(way.chat()))
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")
