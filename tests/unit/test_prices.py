"""Prices: known to the nano, or unknown with a reason; never a made-up zero."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors import SettingsError
from batchmill.money.nanos import nanos_from_usd
from batchmill.money.owner_prices import parse_owner_prices, read_owner_prices
from batchmill.money.prices import Cost, Pricer
from batchmill.money.rates import Unpriced
from batchmill.money.usage import Usage

NOV_2026 = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)
SEP_2026 = int(datetime(2026, 9, 1, 12, tzinfo=UTC).timestamp() * 1000)
MODELS = sorted((provider.id, model.id) for provider in providers for model in provider.models)
PLAIN = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
MODELS_WITH_VARIANTS = sorted(
    (provider.id, model.id) for provider in providers for model in provider.models if model.price_variants
)
LIST = Pricer()


def price(provider: str, model: str, usage: Usage | None = PLAIN, **options: Any) -> Cost:
    return LIST.price(provider=provider, model=model, usage=usage, **{"at_ms": NOV_2026, **options})


def unknown(reason: Unpriced) -> Cost:
    return Cost(nanos=None, reason=reason)


@pytest.mark.parametrize(("native_batch", "nanos"), [(False, 523_200), (True, 300_000)])
def test_cached_input_of_gpt_4o_mini(native_batch: bool, nanos: int) -> None:
    """2000 tokens in, 1024 of them cached, and 500 out cost $0.0005232, in a native batch $0.0003."""
    usage = Usage(input_tokens=2000, cached_tokens=1024, output_tokens=500)
    assert price("openai", "gpt-4o-mini", usage, native_batch=native_batch) == Cost(nanos=nanos)


def test_cache_writes_of_both_lives() -> None:
    """Claude charges five-minute writes at 1.25 and one-hour writes at 2 times the input."""
    usage = Usage(
        input_tokens=10_000,
        cached_tokens=4000,
        cache_write_5m_tokens=1000,
        cache_write_1h_tokens=2000,
        output_tokens=100,
    )
    # 3000 x $3, 4000 x $0.30, 1000 x $3.75, 2000 x $6 and 100 x $15 a million
    assert price("anthropic", "claude-sonnet-4-5", usage) == Cost(nanos=27_450_000)


def test_one_hour_writes_without_a_price() -> None:
    """Where the list has one price for writing, an hour's write is unknown, not the price of five minutes."""
    usage = Usage(input_tokens=1000, cache_write_1h_tokens=1000)
    assert price("openrouter", "anthropic/claude-3-haiku", usage) == unknown(Unpriced.UNPRICED_TOKENS)


def test_reasoning_is_part_of_the_output() -> None:
    """Thinking is billed as output, once."""
    usage = Usage(input_tokens=1000, output_tokens=1000, reasoning_tokens=900)
    assert price("openai", "o4-mini", usage) == Cost(nanos=5_500_000)


def test_reasoning_with_a_price_of_its_own() -> None:
    """Where thinking has its own price, the rest is output: 1000 x $2 + 100 x $8 + 900 x $3 a million."""
    usage = Usage(input_tokens=1000, output_tokens=1000, reasoning_tokens=900)
    assert price("openrouter", "perplexity/sonar-deep-research", usage) == Cost(nanos=5_500_000)


def test_sound_with_a_price() -> None:
    """200 x $2.50 + 800 x $32 in, 100 x $10 + 400 x $64 out."""
    usage = Usage(input_tokens=1000, audio_input_tokens=800, output_tokens=500, audio_output_tokens=400)
    assert price("openai", "gpt-audio", usage) == Cost(nanos=52_700_000)


@pytest.mark.parametrize(
    "usage", [Usage(input_tokens=10, audio_input_tokens=8), Usage(output_tokens=10, audio_output_tokens=8)]
)
def test_sound_without_a_price(usage: Usage) -> None:
    """The list charges sound of gpt-4o-audio-preview as text, a fraction of its price: unknown."""
    assert price("openai", "gpt-4o-audio-preview", usage) == unknown(Unpriced.UNPRICED_TOKENS)


def test_text_of_a_model_for_sound() -> None:
    """Without sound the same model has a known price."""
    assert price("openai", "gpt-4o-audio-preview", Usage(input_tokens=1000)) == Cost(nanos=2_500_000)


def test_cached_sound_without_detail() -> None:
    """Gemini's cached sound has its own price; how much there was is not said, and the list raises."""
    usage = Usage(input_tokens=1000, audio_input_tokens=500, cached_tokens=300)
    assert price("google", "gemini-2.5-flash", usage) == unknown(Unpriced.AMBIGUOUS_USAGE)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "text-embedding-3-small"), ("azure", "gpt-4o-mini"), ("deepseek", "deepseek-chat")],
)
def test_no_batch_price(provider: str, model: str) -> None:
    """Without a native-batch price the list gives the standard one silently: unknown."""
    cost = price(provider, model, native_batch=True)
    assert cost == unknown(Unpriced.UNSUPPORTED_PRICE_CONTEXT)


def test_batch_price_not_yet_in_force() -> None:
    """Before the day from which a batch price is known there is none."""
    cost = price("anthropic", "claude-haiku-4-5", native_batch=True, at_ms=SEP_2026)
    assert cost == unknown(Unpriced.UNSUPPORTED_PRICE_CONTEXT)


@pytest.mark.parametrize(("input_tokens", "nanos"), [(200_000, 250_100_000), (200_001, 500_152_500)])
def test_price_tiers_by_context(input_tokens: int, nanos: int) -> None:
    """Beyond 200,000 tokens in, Gemini 2.5 Pro charges every token more, the output too."""
    usage = Usage(input_tokens=input_tokens, output_tokens=10)
    assert price("google", "gemini-2.5-pro", usage) == Cost(nanos=nanos)


def test_tiers_of_several_calls() -> None:
    """Which of several calls crossed a tier cannot be told from their sum."""
    cost = price("google", "gemini-2.5-pro", Usage(input_tokens=200_001), requests=2)
    assert cost == unknown(Unpriced.AMBIGUOUS_USAGE)


def test_prices_by_the_hour() -> None:
    """DeepSeek's price changes within a day, so the noon price is not reused at night."""
    noon, night = (
        price("deepseek", "deepseek-chat"),
        price("deepseek", "deepseek-chat", at_ms=NOV_2026 + 18_000_000),
    )
    assert (noon.nanos, night.nanos) == (1_370_000_000, 685_000_000)


def test_prices_by_the_request() -> None:
    """Perplexity charges each call besides its tokens."""
    usage = Usage(input_tokens=1000, output_tokens=1000)
    assert price("perplexity", "sonar", usage, requests=3) == Cost(nanos=38_000_000)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("no-such-provider", "gpt-4o-mini"),
        ("my-openai-local", "gpt-4o-mini"),
        ("", ""),
    ],
)
def test_unknown_model(provider: str, model: str) -> None:
    """A name that is not in the list has no price, even when a part of it is."""
    assert price(provider, model) == unknown(Unpriced.UNKNOWN_MODEL)


@pytest.mark.parametrize("model", ["whisper-1", "gpt-image-1"])
def test_units_that_usage_does_not_count(model: str) -> None:
    """By the second or the picture the list gives too little, for it sees tokens only: unknown."""
    assert price("openai", model) == unknown(Unpriced.UNMEASURED_UNIT)


def test_listed_without_a_price() -> None:
    """An empty price is not a price of zero."""
    assert price("cerebras", "qwen-3-coder-480b") == unknown(Unpriced.NO_LIST_PRICE)


@pytest.mark.parametrize("usage", [None, Usage(), PLAIN])
def test_free_moderation(usage: Usage | None) -> None:
    """OpenAI's moderation is free, and its answers say no usage: the cost is known and 0."""
    assert price("openai", "omni-moderation-latest", usage) == Cost(nanos=0)


@pytest.mark.parametrize("usage", [None, Usage()])
def test_no_usage(usage: Usage | None) -> None:
    """An answer that does not say what it used, or leaves it blank, has no known cost, not a cost of 0."""
    assert price("openai", "gpt-4o-mini", usage) == unknown(Unpriced.NO_USAGE)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=5, cached_tokens=10),
        Usage(input_tokens=-1),
        Usage(output_tokens=5, reasoning_tokens=6),
        Usage(input_tokens=5, audio_input_tokens=6),
        Usage(input_tokens=5, cached_tokens=-5, cache_write_5m_tokens=5),
        Usage(input_tokens=10**30),
    ],
)
def test_usage_that_contradicts_itself(usage: Usage) -> None:
    """A part larger than its whole, a count below zero or beyond all money is no basis for a cost."""
    assert price("openai", "gpt-4o-mini", usage) == unknown(Unpriced.INVALID_USAGE)


@pytest.mark.parametrize("count", ["7", 7.0, None])
def test_pricing_never_raises(count: Any) -> None:
    """Even a usage that is none gives an answer."""
    assert price("openai", "gpt-4o-mini", Usage(input_tokens=count)) == unknown(Unpriced.PRICING_ERROR)


def test_reported_cost_wins() -> None:
    """What the provider says goes before the owner's price and the list."""
    pricer = Pricer(parse_owner_prices({"openai/gpt-4o-mini": {"input_usd_per_mtok": "9"}}))
    usage = Usage(input_tokens=1000, reported_cost_usd="0.00012345")
    assert pricer.price(provider="openai", model="gpt-4o-mini", usage=usage, at_ms=NOV_2026) == Cost(
        nanos=123_450
    )


@pytest.mark.parametrize("reported", ["", "free", "NaN", "-1", "1e99"])
def test_reported_nonsense_is_passed_over(reported: str) -> None:
    """A report that is no amount decides nothing: the list does."""
    usage = Usage(input_tokens=1000, reported_cost_usd=reported)
    assert price("openai", "gpt-4o-mini", usage) == Cost(nanos=150_000)


def owned(entry: dict[str, Any], usage: Usage | None, **options: Any) -> Cost:
    pricer = Pricer(parse_owner_prices({"openai/gpt-4o-mini": entry}))
    return pricer.price(provider="openai", model="gpt-4o-mini", usage=usage, **options)


def test_owner_price_goes_before_the_list() -> None:
    """976 x $1 + 1024 x $0.50 + 500 x $2 a million, and a cent a call."""
    entry = {
        "input_usd_per_mtok": "1",
        "cached_input_usd_per_mtok": "0.5",
        "output_usd_per_mtok": "2",
        "usd_per_request": "0.01",
    }
    usage = Usage(input_tokens=2000, cached_tokens=1024, output_tokens=500)
    assert owned(entry, usage) == Cost(nanos=12_488_000)


@pytest.mark.parametrize("usage", [None, PLAIN, Usage(input_tokens=9, audio_input_tokens=9)])
def test_own_machine_is_free(usage: Usage | None) -> None:
    """A model the owner prices at zero costs a known zero, whatever it used and wherever it ran."""
    zero = {"input_usd_per_mtok": "0", "output_usd_per_mtok": "0"}
    assert owned(zero, usage) == owned(zero, usage, native_batch=True) == Cost(nanos=0)


@pytest.mark.parametrize("usage", [None, PLAIN])
def test_owner_price_by_the_request_alone(usage: Usage | None) -> None:
    """A price per request alone charges no tokens and needs no usage."""
    assert owned({"usd_per_request": "0.01"}, usage, requests=2) == Cost(nanos=20_000_000)


def test_owner_price_without_a_batch_price() -> None:
    """What a native batch costs the owner has to say."""
    cost = owned({"input_usd_per_mtok": "1"}, Usage(input_tokens=8), native_batch=True)
    assert cost == unknown(Unpriced.UNSUPPORTED_PRICE_CONTEXT)


def test_owner_price_with_a_batch_price() -> None:
    """The multiplier applies to every price of the entry."""
    entry = {"input_usd_per_mtok": "1", "usd_per_request": "0.01", "native_batch_multiplier": "0.5"}
    assert owned(entry, Usage(input_tokens=8), native_batch=True) == Cost(nanos=5_004_000)


def test_owner_price_without_output() -> None:
    """Output that the entry does not price is unknown, not free."""
    assert owned({"input_usd_per_mtok": "1"}, PLAIN) == unknown(Unpriced.UNPRICED_TOKENS)


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ([], "expected an object"),
        ({"gpt": {}}, 'entry "gpt" is not named'),
        ({"a/b": 1}, 'entry "a/b" must be an object'),
        ({"a/b": {}}, 'entry "a/b" has no input_usd_per_mtok'),
        ({"a/b": {"output_usd_per_mtok": "1"}}, 'entry "a/b" has no input_usd_per_mtok'),
        ({"a/b": {"input": "1"}}, 'entry "a/b" has no field input'),
        ({"a/b": {"input_usd_per_mtok": 0.1}}, "input_usd_per_mtok must be decimal text, got float"),
        ({"a/b": {"input_usd_per_mtok": "cheap"}}, 'input_usd_per_mtok is "cheap"'),
        ({"a/b": {"input_usd_per_mtok": "-1"}}, "input_usd_per_mtok is -1"),
        ({"a/b": {"input_usd_per_mtok": "NaN"}}, "input_usd_per_mtok is NaN"),
        ({"a/b": {"input_usd_per_mtok": "1e-19"}}, "18 decimals are the most"),
        (
            {"a/b": {"input_usd_per_mtok": "1e-18", "native_batch_multiplier": "0.5"}},
            "native_batch_multiplier: .* more than 18 decimals",
        ),
    ],
)
def test_wrong_owner_price(raw: Any, complaint: str) -> None:
    """A wrong entry stops the start, and the error names it."""
    with pytest.raises(SettingsError, match=complaint) as caught:
        parse_owner_prices(raw)
    assert caught.value.hint


def test_owner_prices_from_a_file(tmp_path: Path) -> None:
    """A model's name may hold slashes, and a bare number in the file is read exactly."""
    path = tmp_path / "prices.json"
    path.write_text('{"openrouter/meta/llama": {"input_usd_per_mtok": 0.1}}')
    usage = Usage(input_tokens=30)
    cost = Pricer(read_owner_prices(path)).price(provider="openrouter", model="meta/llama", usage=usage)
    assert cost == Cost(nanos=3_000)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(None, "cannot be read"), ("{", "are no JSON"), ('{"a/b": {}, "a/b": {}}', '"a/b" is given twice')],
)
def test_wrong_owner_price_file(tmp_path: Path, text: str | None, complaint: str) -> None:
    """A file that is away or broken stops the start, and the error names it."""
    path = tmp_path / "prices.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=rf"prices\.json.*{complaint}") as caught:
        read_owner_prices(path)
    assert "BATCHMILL_PRICES" in caught.value.hint


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    whole = st.one_of(st.integers(0, 5000), st.integers(0, 2_000_000))
    input_tokens, output_tokens = draw(whole), draw(whole)
    cached = draw(st.integers(0, input_tokens))
    write_5m = draw(st.integers(0, input_tokens - cached))
    write_1h = draw(st.integers(0, input_tokens - cached - write_5m))
    return Usage(
        input_tokens=input_tokens,
        cached_tokens=cached,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        output_tokens=output_tokens,
        reasoning_tokens=draw(st.integers(0, output_tokens)),
        audio_input_tokens=draw(st.just(0) | st.integers(0, input_tokens)),
        audio_output_tokens=draw(st.just(0) | st.integers(0, output_tokens)),
    )


@settings(max_examples=300)
@given(
    listed=st.sampled_from(MODELS) | st.sampled_from(MODELS_WITH_VARIANTS),
    usage=usages(),
    native_batch=st.booleans(),
    days=st.integers(-300, 90),
)
def test_what_is_known_is_what_the_list_says(
    listed: tuple[str, str], usage: Usage, native_batch: bool, days: int
) -> None:
    """Whenever a cost is known, it is the list's own to the nano, over all models, tiers and days."""
    provider, model = listed
    at_ms = NOV_2026 + days * 86_400_000
    cost = price(provider, model, usage, native_batch=native_batch, at_ms=at_ms)
    if cost.nanos is None:
        assert cost.reason not in {Unpriced.PRICING_ERROR, Unpriced.INVALID_USAGE}
        return
    listed_price = calc_price(
        ListUsage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            cache_write_5m_tokens=usage.cache_write_5m_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            input_audio_tokens=usage.audio_input_tokens,
            output_tokens=usage.output_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
            output_audio_tokens=usage.audio_output_tokens,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at_ms / 1000, UTC),
        price_context={"processing": "batch"} if native_batch else None,
    )
    assert cost.nanos == nanos_from_usd(listed_price.total_price)


def test_cached_input_is_never_dearer_in_a_batch() -> None:
    """Without a batch price for cached input, the standard one is at most that of batch input."""
    for provider, model in MODELS_WITH_VARIANTS:
        plain, cached = (
            price(provider, model, Usage(input_tokens=1000, cached_tokens=tokens), native_batch=True).nanos
            for tokens in (0, 1000)
        )
        assert plain is None or (cached is not None and cached <= plain), model


def test_every_listed_model_has_a_tariff_or_a_reason() -> None:
    """No model of the list makes pricing stumble, and nine in ten have a price."""
    costs = [price(provider, model, Usage(input_tokens=1000)) for provider, model in MODELS]
    assert Unpriced.PRICING_ERROR not in {cost.reason for cost in costs}
    assert sum(cost.nanos is not None for cost in costs) > 0.9 * len(costs)
