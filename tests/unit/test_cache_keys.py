"""Cache keys: one for the same request, never one for two that differ."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.cache.keys import _DENIED, request_key
from batchmill.requests.model import Endpoint

BODY: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "Which language is c?"},
    ],
    "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
    "reasoning_effort": "low",
}

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)
bodies = st.dictionaries(texts, values, max_size=6)


def key(
    body: dict[str, Any], *, tenant: str = "local", endpoint: Endpoint = Endpoint.CHAT, upstream: str = ""
) -> bytes:
    return request_key(tenant=tenant, upstream=upstream, endpoint=endpoint, body=body)


def reversed_fields(value: Any) -> Any:
    """The same JSON, its objects written from the last field to the first."""
    if isinstance(value, dict):
        return {field: reversed_fields(value[field]) for field in reversed(value)}
    return [reversed_fields(item) for item in value] if isinstance(value, list) else value


def with_question(text: str) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    body["messages"][1]["content"] = text
    return body


def test_key_is_fixed() -> None:
    """A stored answer is found by the next version too: a change here must raise KEY_VERSION."""
    assert (
        key({"model": "m", "messages": []}).hex()
        == "139f74f29dff531c0ff9c26e9c6422971b0444b80c32a9166d408d1bb1e20c8a"
    )


@given(bodies)
def test_field_order_does_not_count(body: dict[str, Any]) -> None:
    """An object's fields may come in any order, at every depth."""
    assert key(reversed_fields(body)) == key(body)


@given(bodies)
def test_a_round_trip_over_the_wire_does_not_count(body: dict[str, Any]) -> None:
    """A body that was written as JSON and read again has the same key."""
    assert key(orjson.loads(orjson.dumps(body))) == key(body)


@given(bodies, bodies)
def test_distinct_content_has_distinct_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two bodies share a key only when they are the same JSON, but for what no answer depends on."""
    asked, also_asked = (
        {name: value for name, value in body.items() if name not in _DENIED[Endpoint.CHAT]}
        for body in (one, other)
    )
    same = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        also_asked, option=orjson.OPT_SORT_KEYS
    )
    assert (key(one) == key(other)) is same


def test_only_what_travels_is_left_out():
    """The example that a random draw once found: a field that no answer depends on, and none."""
    assert key({}) == key({"user": None})


@given(st.tuples(texts, st.sampled_from(Endpoint)), st.tuples(texts, st.sampled_from(Endpoint)))
def test_tenants_and_endpoints_are_apart(one: tuple[str, Endpoint], other: tuple[str, Endpoint]) -> None:
    """No tenant sees another's answers, no endpoint another's, whatever their names are made of."""
    keys = [key(BODY, tenant=tenant, endpoint=endpoint) for tenant, endpoint in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


def test_providers_are_apart():
    """What one server answered never stands for what another would."""
    assert key(BODY, upstream="http://a/v1") != key(BODY, upstream="http://b/v1")


@pytest.mark.parametrize(
    ("one", "other"),
    [(("ab", "c"), ("a", "bc")), (("a", ""), ("", "a")), (('a","b', ""), ("a", "b"))],
)
def test_a_name_ends_where_it_ends(one: tuple[str, str], other: tuple[str, str]) -> None:
    """A tenant and a provider that only look alike when written in a row have nothing in common."""
    keys = {key(BODY, tenant=tenant, upstream=upstream) for tenant, upstream in (one, other)}
    assert len(keys) == 2


@pytest.mark.parametrize("tenant", ['a",1', 'a\n{"model":"m"}', "a]", ""])
def test_a_tenant_cannot_reach_into_the_body(tenant: str) -> None:
    """A name made to look like the rest of the key is only a name."""
    assert key({}, tenant=tenant) != key({"model": "m"}, tenant="a")


@pytest.mark.parametrize(
    "question",
    [
        "Which language is C?",
        "Which language is C++?",
        "Which language is c? ",
        "Which  language is c?",
        "Which language\nis c?",
    ],
)
def test_text_counts_to_the_letter(question: str) -> None:
    """Case, signs and every space of a prompt count."""
    assert key(with_question(question)) != key(BODY)


def test_composed_letters_are_not_decomposed_ones() -> None:
    """Text is compared as it is sent, not as it looks."""
    assert key(with_question("caf\u00e9")) != key(with_question("cafe\u0301"))


def test_list_order_counts() -> None:
    """A talk turned round is another talk."""
    assert key({**BODY, "messages": BODY["messages"][::-1]}) != key(BODY)


@pytest.mark.parametrize("field", ["reasoning_effort", "tools", "model", "messages"])
def test_every_field_counts(field: str) -> None:
    """A request without one of its fields is another request."""
    assert key({name: value for name, value in BODY.items() if name != field}) != key(BODY)


@pytest.mark.parametrize(
    "field",
    ["store", "service_tier", "seed", "n", "temperature", "max_tokens", "response_format", "brand_new"],
)
def test_a_field_in_doubt_counts(field: str) -> None:
    """Fields that may change the answer, and those nobody knows yet, are in the key."""
    assert key({**BODY, field: 1}) != key(BODY)


@pytest.mark.parametrize(
    "field", ["stream", "stream_options", "timeout", "request_timeout", "traceparent", "tracestate"]
)
@pytest.mark.parametrize("endpoint", Endpoint)
def test_how_it_travels_does_not_count(field: str, endpoint: Endpoint) -> None:
    """Streaming, patience and tracing do not make another request."""
    assert key({**BODY, field: 1}, endpoint=endpoint) == key(BODY, endpoint=endpoint)


@pytest.mark.parametrize(
    "field", ["user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"]
)
@pytest.mark.parametrize("endpoint", Endpoint)
def test_who_asks_counts_only_where_it_is_answered(field: str, endpoint: Endpoint) -> None:
    """Only the Responses API writes these fields into its answer, so only there they count."""
    differs = key({**BODY, field: "ann"}, endpoint=endpoint) != key(BODY, endpoint=endpoint)
    assert differs is (endpoint is Endpoint.RESPONSES)


@pytest.mark.parametrize("field", ["user", "metadata", "stream", "timeout"])
def test_denied_names_count_further_down(field: str) -> None:
    """Inside a message or a tool the same names are content."""
    assert key({**BODY, "extra": {field: 1}}) != key({**BODY, "extra": {field: 2}})


def test_as_deep_as_json_goes() -> None:
    """Whatever orjson can write has a key, to the last level of nesting."""
    body: dict[str, Any] = {}
    while True:
        deeper = {"a": body}
        try:
            orjson.dumps(deeper)
        except orjson.JSONEncodeError:
            break
        body = deeper
    assert len(key(body)) == 32


def test_no_json_no_key() -> None:
    """What could not be sent has no key."""
    with pytest.raises(TypeError):
        key({"model": object()})
