"""Bounds: no call costs more than what is held for it, and what is known exactly is held exactly."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.money.bounds import MOST_NANOS, Bound, Bounds
from batchmill.money.owner_prices import parse_owner_prices
from batchmill.money.prices import Pricer
from batchmill.money.rates import Unpriced
from batchmill.money.usage import Usage
from batchmill.providers.anthropic.ask import write_body
from batchmill.providers.base import Call
from batchmill.requests.model import Endpoint
from batchmill.tokens.count import count_request, count_text
from batchmill.tokens.most_input import IMAGE_TOKENS, UNSEEN_TOKENS
from tests.support.clocks import FakeClock

NOV_2026_MS = 1_795_176_000_000
OURS = 16_384
OWN = parse_owner_prices(
    {
        "openai/own": {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2", "usd_per_request": "0.5"},
        "openai/free": {"input_usd_per_mtok": "0", "output_usd_per_mtok": "0"},
        "openai/per-call": {"usd_per_request": "0.01"},
        "openai/input-only": {"input_usd_per_mtok": "1"},
    }
)
CLAUDE = {"anthropic/claude-own": {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2"}}
PRICER = Pricer(OWN, clock=FakeClock(NOV_2026_MS))
USER = {"role": "user", "content": "What is a mill?"}


def bound(
    model: str, *, endpoint: Endpoint = Endpoint.CHAT, bounds: Bounds | None = None, **body: Any
) -> Bound:
    if endpoint is Endpoint.CHAT:
        body.setdefault("messages", [USER])
    bounds = bounds or Bounds(PRICER, output_cap_tokens=OURS)
    return bounds.bound(
        provider="openai", model=model, endpoint=endpoint, body=orjson.dumps({"model": model, **body})
    )


def nanos(model: str, usage: Usage) -> int:
    cost = PRICER.price(provider="openai", model=model, usage=usage).nanos
    assert cost is not None
    return cost


@pytest.mark.parametrize(
    ("model", "endpoint", "body"),
    [
        ("gpt-4o-mini", Endpoint.CHAT, {"messages": [USER], "max_tokens": 500}),
        ("gpt-4o", Endpoint.CHAT, {"messages": [USER] * 3, "max_completion_tokens": 7, "n": 3}),
        ("gpt-3.5-turbo-instruct", Endpoint.COMPLETIONS, {"prompt": "Once upon", "max_tokens": 20}),
        (
            "gpt-3.5-turbo-instruct",
            Endpoint.COMPLETIONS,
            {"prompt": ["a", "b"], "max_tokens": 20, "best_of": 4},
        ),
        ("text-embedding-3-small", Endpoint.EMBEDDINGS, {"input": ["one", "two words"]}),
    ],
)
def test_what_is_known_exactly_is_bound_exactly(model: str, endpoint: Endpoint, body: dict[str, Any]) -> None:
    """A text whose tokens are known, with its whole output used, costs its bound to the nano."""
    found = bound(model, endpoint=endpoint, **body)
    counted = count_request(model, endpoint, body)
    assert counted.is_exact
    assert found.input_tokens == counted.tokens
    assert found.nanos == nanos(
        model, Usage(input_tokens=found.input_tokens, output_tokens=found.output_tokens)
    )
    assert orjson.loads(found.body) == {"model": model, **body}


@pytest.mark.parametrize(
    ("body", "output_tokens"),
    [
        ({"max_tokens": 10, "max_completion_tokens": 30}, 30),
        ({"max_tokens": 10, "n": 4}, 40),
        ({"max_tokens": 10, "n": None}, 10),
        ({"max_tokens": 10, "n": 0}, 10),
        ({"max_tokens": "10", "n": 2.0}, 20),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": 10**12}, OURS),  # the model writes no more than that
    ],
)
def test_output_is_what_the_request_allows(body: dict[str, Any], output_tokens: int) -> None:
    """The larger of several limits, times the answers asked for; never more than the model's cap."""
    assert bound("gpt-4o", **body).output_tokens == output_tokens


def test_a_prediction_that_is_rejected_is_billed() -> None:
    """As output, whatever the answer's own limit: its text is added, and none for null."""
    text = "word " * 1_000
    found = bound("gpt-4o", max_tokens=10, prediction={"type": "content", "content": text})
    assert 10 + count_text("gpt-4o", text).tokens <= found.output_tokens <= 10 + len(text) + 100
    assert found.nanos == nanos(
        "gpt-4o", Usage(input_tokens=found.input_tokens, output_tokens=found.output_tokens)
    )
    assert bound("gpt-4o", max_tokens=10, prediction=None).output_tokens == 10


@pytest.mark.parametrize("prompt", ["one", [1, 2, 3], ["one"], [[1, 2, 3]]])
def test_a_single_completion_prompt_has_one_answer(prompt: Any) -> None:
    """Token ids are one prompt, not as many as there are ids."""
    found = bound("gpt-3.5-turbo-instruct", endpoint=Endpoint.COMPLETIONS, prompt=prompt, max_tokens=9)
    assert found.output_tokens == 9


def test_a_request_without_a_limit_has_its_model_s_cap() -> None:
    """The catalogue's cap counts before the shipped one, and a cap that is known is not sent."""
    bounds = Bounds(PRICER, output_cap_tokens=OURS)
    shipped = bound("gpt-6-luna", bounds=bounds)
    bounds.set_caps({("openai", "gpt-6-luna"): 1_000})
    owner = bound("gpt-6-luna", bounds=bounds)
    assert (shipped.output_tokens, owner.output_tokens) == (128_000, 1_000)
    assert b"max_" not in shipped.body + owner.body


@pytest.mark.parametrize(("cap", "longest"), [(1_000, 1_000), (128_000, OURS), (None, OURS)])
def test_what_is_held_for_anthropic_is_what_it_is_told(cap: int | None, longest: int) -> None:
    """It is told the longest answer with every call: the model's cap or ours, whichever is lower, and that is held."""
    bounds = Bounds(Pricer(parse_owner_prices(CLAUDE)), output_cap_tokens=OURS)
    bounds.set_caps({} if cap is None else {("anthropic", "claude-own"): cap})
    body = orjson.dumps({"model": "claude-own", "messages": [USER]})
    found = bounds.bound(provider="anthropic", model="claude-own", endpoint=Endpoint.CHAT, body=body)
    call = Call(
        endpoint=Endpoint.CHAT,
        model="claude-own",
        body=found.body,
        client_request_id="r1/1",
        timeout_s=1.0,
        output_cap_tokens=OURS,
    )
    assert (found.output_tokens, orjson.loads(write_body(call))["max_tokens"]) == (longest, longest)


@pytest.mark.parametrize(
    ("model", "cap"), [("gpt-3.5-turbo", 4_096), ("gpt-4", 8_192), ("ft:gpt-4o:acme::1", 16_384)]
)
def test_an_old_model_s_cap_is_known(model: str, cap: int) -> None:
    """OpenAI refuses a limit above what an older model writes, so none is sent."""
    found = bound(model, bounds=Bounds(PRICER, output_cap_tokens=100_000))
    assert (found.output_tokens, b"max_" in found.body) == (cap, False)


@pytest.mark.parametrize(
    ("model", "endpoint", "body", "field"),
    [
        ("gpt-5.4", Endpoint.CHAT, {"messages": [USER]}, "max_completion_tokens"),
        ("own", Endpoint.CHAT, {"messages": [USER]}, "max_tokens"),
        ("own", Endpoint.CHAT, {"messages": [USER], "max_tokens": None, "seed": 7}, "max_tokens"),
        ("own", Endpoint.CHAT, {"messages": [USER], "max_completion_tokens": -1}, "max_tokens"),
        ("own", Endpoint.COMPLETIONS, {"prompt": "Once"}, "max_tokens"),
        ("own", Endpoint.RESPONSES, {"input": "Hi"}, "max_output_tokens"),
    ],
)
def test_our_own_limit_is_sent(model: str, endpoint: Endpoint, body: dict[str, Any], field: str) -> None:
    """Where neither request nor model has a limit, ours is put into the body, and nothing else changes."""
    found = bound(model, endpoint=endpoint, **body)
    kept = {name: value for name, value in body.items() if not name.startswith("max_")}
    assert orjson.loads(found.body) == {"model": model, **kept, field: OURS}
    assert found.output_tokens == OURS


def test_a_body_keeps_its_bytes() -> None:
    """Our limit is added to the text of the body: spaces, escapes and the order of fields stay."""
    raw = b'{ "model": "own",\n "messages": [ {"role":"user","content":"\\u00e9"} ], "x": 1.50 }\n'
    found = Bounds(PRICER, output_cap_tokens=9).bound(
        provider="openai", model="own", endpoint=Endpoint.CHAT, body=raw
    )
    assert found.body == raw.rstrip()[:-1] + b',"max_tokens":9}'


def test_a_free_model_is_bound_at_nothing() -> None:
    """What is free holds nothing, and needs no limit."""
    found = bound("free")
    assert (found.nanos, b"max_tokens" in found.body) == (0, False)


def test_a_price_per_request_counts_once() -> None:
    """However many answers and tokens, and without a limit of ours, which would save nothing."""
    found = bound("per-call", n=5)
    assert (found.nanos, b"max_tokens" in found.body) == (10_000_000, False)


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        ("no-such-model", {}, Unpriced.UNKNOWN_MODEL),
        ("input-only", {}, Unpriced.UNPRICED_TOKENS),
        ("own", {"modalities": ["text", "audio"]}, Unpriced.UNPRICED_TOKENS),
        (
            "own",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A"}}]}
                ]
            },
            Unpriced.UNPRICED_TOKENS,
        ),
    ],
)
def test_no_price_is_not_free(model: str, body: dict[str, Any], reason: Unpriced) -> None:
    """A model, output or sound without a price has no bound; the body is left alone."""
    found = bound(model, **body)
    assert (found.nanos, found.reason, b"max_tokens" in found.body) == (None, reason, False)


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense", b"[]", b"7", b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}"]
)
def test_what_is_no_request_raises_nothing(raw: bytes) -> None:
    """A body that cannot be read is unpriced, or bound by its bytes; it never ends a worker."""
    found = Bounds(PRICER, output_cap_tokens=OURS).bound(
        provider="openai", model="own", endpoint=Endpoint.CHAT, body=raw
    )
    assert found.reason == Unpriced.PRICING_ERROR or found.input_tokens >= len(raw)


def test_a_dearer_model_has_its_bounds_raised() -> None:
    """Hundredths, rounded up; and an absurd bound still fits a database."""
    bounds = Bounds(PRICER, output_cap_tokens=OURS)
    vector: dict[str, Any] = {"endpoint": Endpoint.EMBEDDINGS, "input": "one", "bounds": bounds}
    assert bound("text-embedding-3-small", **vector).nanos == 20
    bounds.set_percents({("openai", "text-embedding-3-small"): 133, ("openai", "own"): 10**12})
    assert bound("text-embedding-3-small", **vector).nanos == 27
    assert bound("own", bounds=bounds, n=10**9).nanos == MOST_NANOS


def test_new_prices_count_at_once() -> None:
    """A bound goes by the price in force, not by the one that it was first made with."""
    pricer = Pricer(OWN)
    bounds = Bounds(pricer, output_cap_tokens=OURS)
    before = bound("own", bounds=bounds, max_tokens=1).nanos
    pricer.set_owner_prices(parse_owner_prices({"openai/own": {"usd_per_request": "3"}}))
    assert before != bound("own", bounds=bounds, max_tokens=1).nanos == 3_000_000_000


def test_a_long_prompt_is_bound_in_its_tier() -> None:
    """gpt-5.4 charges twice as much beyond 272,000 tokens: for all of them, output too."""
    long = bound("gpt-5.4", messages=[{"role": "user", "content": "a" * 300_000}], max_tokens=10)
    assert long.nanos == nanos("gpt-5.4", Usage(input_tokens=long.input_tokens, output_tokens=10))
    assert long.nanos == long.input_tokens * 5_000 + 10 * 22_500


def test_writing_to_the_provider_s_cache_is_bound() -> None:
    """gpt-6-luna writes to its cache unasked; a claude that keeps it for an hour charges more for that."""
    written = bound("gpt-6-luna", max_tokens=10)
    assert written.nanos == nanos(
        "gpt-6-luna",
        Usage(
            input_tokens=written.input_tokens, cache_write_5m_tokens=written.input_tokens, output_tokens=10
        ),
    )
    body = {"model": "claude-haiku-4-5", "messages": [USER], "max_tokens": 10, "cache_control": {"ttl": "1h"}}
    claude = Bounds(PRICER, output_cap_tokens=OURS).bound(
        provider="anthropic", model="claude-haiku-4-5", endpoint=Endpoint.CHAT, body=orjson.dumps(body)
    )
    usage = Usage(
        input_tokens=claude.input_tokens, cache_write_1h_tokens=claude.input_tokens, output_tokens=10
    )
    assert claude.nanos == PRICER.price(provider="anthropic", model="claude-haiku-4-5", usage=usage).nanos


@pytest.mark.parametrize(
    ("part", "least", "most"),
    [
        ({"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}, 1_445, IMAGE_TOKENS + 1_000),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}},
            1_445,
            IMAGE_TOKENS + 1_000,
        ),
        ({"type": "image_url", "image_url": {"url": "https://a.b/c.png", "detail": "low"}}, 85, 2_000),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 400_000}},
            100_000,
            101_000,
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, UNSEEN_TOKENS, UNSEEN_TOKENS + 1_000),
        ({"type": "video_url", "video_url": {"url": "https://a.b/c.mp4"}}, UNSEEN_TOKENS, 201_000),
        ({"type": "what_is_this", "text": "a b " * 5_000}, 20_000, 221_000),
        ({"type": "image_url", "image_url": {"url": "https://a.b/c.png"}, "text": "x"}, 1_445, 11_000),
    ],
)
def test_media_have_an_allowance(part: dict[str, Any], least: int, most: int) -> None:
    """What is no text counts neither as nothing nor as a million tokens of base64."""
    found = bound("gpt-4o", messages=[{"role": "user", "content": [part]}], max_tokens=1)
    assert least <= found.input_tokens <= most


def test_sound_has_its_own_price() -> None:
    """A minute of sound at 32 tokens a second is within the bound, at the price for sound."""
    data = "A" * 60 * 1_000
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}
    found = bound("gpt-audio", messages=[{"role": "user", "content": [part]}], max_tokens=1)
    usage = Usage(input_tokens=1_930, audio_input_tokens=1_920, output_tokens=1)
    assert found.nanos is not None
    assert found.nanos >= nanos("gpt-audio", usage)
    assert found.input_tokens < 5_000


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.RESPONSES, {"input": "Hi", "previous_response_id": "resp_1"}),
        (Endpoint.RESPONSES, {"input": "Hi", "tools": [{"type": "web_search"}]}),
        (Endpoint.RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (Endpoint.RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        (Endpoint.CHAT, {"messages": [USER], "web_search_options": {}}),
        (Endpoint.CHAT, {"messages": [USER, {"role": "assistant", "audio": {"id": "audio_1"}}]}),
    ],
)
def test_what_is_not_in_the_request_has_an_allowance(endpoint: Endpoint, body: dict[str, Any]) -> None:
    """What the provider keeps or finds itself is input too."""
    assert bound("gpt-4o", endpoint=endpoint, **body).input_tokens >= UNSEEN_TOKENS


def test_tools_are_bound_by_their_json() -> None:
    """A function's schema is input: its JSON has more bytes than its tokens."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    found = bound("gpt-4o", tools=[tool] * 20)
    assert found.input_tokens >= count_request("gpt-4o", Endpoint.CHAT, {"tools": [tool] * 20}).tokens + 1_000


TEXT = st.text(max_size=200)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT}, optional={"name": TEXT}
)
MODEL = st.sampled_from(["gpt-4o", "gpt-5.4", "gpt-6-luna", "own", "o3-mini", "gpt-4o-mini"])


@settings(deadline=None, max_examples=150)
@given(data=st.data(), model=MODEL, messages=st.lists(MESSAGE, min_size=1, max_size=4))
def test_no_usage_within_the_bound_costs_more(data: st.DataObject, model: str, messages: list[Any]) -> None:
    """Whatever kinds of tokens a call uses, within its bytes and its limit, its price is at most its bound."""
    body = {
        "model": model,
        "messages": messages,
        **data.draw(st.sampled_from([{}, {"max_tokens": 40}, {"max_completion_tokens": 9, "n": 3}])),
    }
    raw = orjson.dumps(body)
    found = Bounds(PRICER, output_cap_tokens=100).bound(
        provider="openai", model=model, endpoint=Endpoint.CHAT, body=raw
    )
    limit = max(body.get("max_tokens", 0), body.get("max_completion_tokens", 0)) * body.get("n", 1)
    assert found.output_tokens >= limit
    input_tokens = data.draw(st.integers(0, found.input_tokens))
    output_tokens = data.draw(st.integers(0, found.output_tokens))
    cached = data.draw(st.integers(0, input_tokens))
    usage = Usage(
        input_tokens=input_tokens,
        cached_tokens=cached,
        cache_write_5m_tokens=data.draw(st.integers(0, input_tokens - cached)),
        output_tokens=output_tokens,
        reasoning_tokens=data.draw(st.integers(0, output_tokens)),
    )
    cost = PRICER.price(provider="openai", model=model, usage=usage).nanos
    assert found.nanos is not None
    assert cost is None or cost <= found.nanos
    rough = Bounds(PRICER, output_cap_tokens=100).bound(
        provider="openai", model=model, endpoint=Endpoint.CHAT, body=raw, is_rough=True
    )
    assert rough.nanos is not None
    assert rough.nanos >= found.nanos
    assert (rough.output_tokens, rough.body) == (found.output_tokens, found.body)


@settings(deadline=None, max_examples=100)
@given(texts=st.lists(TEXT, min_size=1, max_size=4))
def test_bytes_bound_tokens(texts: list[str]) -> None:
    """Where the tokenizer is not known, no text has more tokens than the bound, escapes and all."""
    messages = [{"role": "user", "content": text} for text in texts]
    tokens = sum(count_text("gpt-4o", text).tokens + 10 for text in texts)
    assert bound("own", messages=messages).input_tokens >= tokens
