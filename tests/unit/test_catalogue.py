"""The catalogue's entries, prices and shipped models, without a database."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchmill.catalogue import shipped
from batchmill.catalogue.edits import edited, made_default, switched
from batchmill.catalogue.entries import Capability, ModelEntry, Tier, parse_name
from batchmill.catalogue.in_force import PriceSource, price_in_force
from batchmill.catalogue.prices import ModelPrices, price_nanos
from batchmill.catalogue.setup import plan_setup
from batchmill.catalogue.shipped import read_shipped
from batchmill.errors import ConflictError, MisuseError
from batchmill.money.owner_prices import parse_owner_prices
from batchmill.money.prices import Pricer
from batchmill.money.rates import Unpriced
from batchmill.money.usage import Usage
from batchmill.routing.names import MOST_FALLBACKS, Target

SHIPPED = read_shipped()
OWN = ModelPrices(input_nanos_per_mtok=150_000_000, output_nanos_per_mtok=600_000_000)

NO_PRICES = [
    *("", ".", "-1", "+1", "NaN", "inf", "1e-3", "0x10", "1_000", "\N{ARABIC-INDIC DIGIT THREE}"),
    *("$0.15", "0,15", "0.15 USD", "1000000.1", "0.0000000001", "1" * 40),
]
NO_NAMES = [
    *("", "gpt-4o", "/gpt-4o", "openai/", "OpenAI/gpt-4o", "open ai/x", "openai/a b", "openai/a\0"),
    *("openai/\udcff", "openai/" + "x" * 201),
]


def entry(name: str = "openai/gpt-4o-mini", **fields: Any) -> ModelEntry:
    """An entry, cheap unless said otherwise."""
    provider, model = parse_name(name)
    return ModelEntry(provider=provider, model=model, **{"tier": Tier.CHEAP, **fields})


def local(model: str) -> Target:
    """A model on one's own machine."""
    return Target(provider="local", model=model)


@pytest.mark.parametrize(
    ("fallback", "why"),
    [
        ([local(f"m{n}") for n in range(MOST_FALLBACKS + 1)], "at most"),
        ([Target(provider="openai", model="gpt-4o-mini")], "for itself"),
        ([local("a"), local("b"), local("a")], "twice"),
        ([local("a,b")], "comma"),
        ([local("a b")], "names no model"),
    ],
)
def test_fallbacks_that_cannot_be(fallback: list[Target], why: str) -> None:
    """Too many, itself, one of them twice, and what could not be kept: the error says which entry and why."""
    with pytest.raises(MisuseError, match=why) as told:
        entry(fallback=tuple(fallback))
    assert "openai/gpt-4o-mini" in told.value.message or "local/a b" in told.value.message


def test_as_many_fallbacks_as_are_allowed() -> None:
    """They stay in their order."""
    fallback = tuple(local(f"m{n}") for n in range(MOST_FALLBACKS))
    assert entry(fallback=fallback).fallback == fallback


def test_shipped_models_are_about_twenty_of_five_providers() -> None:
    """Every provider of the first hour is there, each model once."""
    assert SHIPPED.providers == ("openai", "anthropic", "gemini", "openrouter", "local")
    assert 18 <= len(SHIPPED.entries) <= 25
    assert len({model.key for model in SHIPPED.entries}) == len(SHIPPED.entries)


def test_shipped_models_have_one_default_of_each_tier() -> None:
    """A fresh catalogue knows which model stands for a tier."""
    assert [model.tier for model in SHIPPED.entries if model.is_default] == list(Tier)


@pytest.mark.parametrize("model", SHIPPED.entries, ids=lambda model: model.name)
def test_shipped_model_has_a_price(model: ModelEntry) -> None:
    """The public list knows the model by this very name, or it is a machine of one's own, which costs nothing."""
    own = {model.key: model.prices.owner_price()} if model.prices else {}
    price = price_in_force(model, {}, Pricer(own))
    assert price.source is (PriceSource.OWN if model.provider == "local" else PriceSource.LIST)
    assert (price.input_usd_per_mtok == 0) == (model.provider == "local")


@pytest.mark.parametrize("model", SHIPPED.entries, ids=lambda model: model.name)
def test_shipped_model_has_a_source_and_estimates_of_its_tier(model: ModelEntry) -> None:
    """Each says where its facts are from; its estimated quality passes its tier's floor."""
    text = Path(shipped.__file__).with_name("shipped.toml").read_text(encoding="utf-8")
    [own_part] = [part for part in text.split("[[models]]") if f'model = "{model.model}"\n' in part]
    assert 'source = "' in own_part
    floors = {Tier.CHEAP: 0.70, Tier.NORMAL: 0.80, Tier.PREMIUM: 0.90}
    assert model.quality is not None
    assert model.latency_ms is not None
    assert model.quality >= floors[model.tier]
    assert (Capability.TEXT in model.capabilities) != (Capability.EMBEDDINGS in model.capabilities)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [("0.15", 150_000_000), ("3", 3_000_000_000), ("0", 0), (".000000001", 1), ("1000000", 10**15)],
)
def test_price_as_nanos(text: str, nanos: int) -> None:
    """Plain decimals are kept exactly."""
    assert price_nanos(text) == nanos


@pytest.mark.parametrize("text", NO_PRICES)
def test_what_is_no_price(text: str) -> None:
    """Signs, currencies, commas, exponents, other digits, and what is absurd are refused with what was written."""
    with pytest.raises(ValueError, match=r"no price|more than"):
        price_nanos(text)


@pytest.mark.parametrize(
    "parts",
    [
        {"input_nanos_per_mtok": 1},
        {"output_nanos_per_mtok": 1},
        {"cached_input_nanos_per_mtok": 1},
        {"cached_input_nanos_per_mtok": 1, "nanos_per_request": 1},
        {},
    ],
)
def test_half_a_price_is_refused(parts: dict[str, int]) -> None:
    """A price says what input and output cost, or what a request costs."""
    with pytest.raises(MisuseError):
        ModelPrices(**parts)


def test_own_price_is_charged_as_one_of_the_file() -> None:
    """Cached input at its price, reasoning as output, the request on top; all zeros are free of whatever kind."""
    prices = replace(OWN, cached_input_nanos_per_mtok=75_000_000, nanos_per_request=10)
    as_in_file = parse_owner_prices(
        {
            "openai/m": {
                "input_usd_per_mtok": "0.15",
                "cached_input_usd_per_mtok": "0.075",
                "output_usd_per_mtok": "0.6",
                "usd_per_request": "0.00000001",
            }
        }
    )
    assert prices.owner_price() == as_in_file["openai", "m"]
    free = ModelPrices(input_nanos_per_mtok=0, output_nanos_per_mtok=0).owner_price()
    usage = Usage(input_tokens=9, audio_input_tokens=3, output_tokens=9, reasoning_tokens=4)
    assert Pricer({("local", "m"): free}).price(provider="local", model="m", usage=usage).nanos == 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("openai/gpt-6-luna", ("openai", "gpt-6-luna")),
        ("openrouter/meta-llama/llama-3.3-70b:free", ("openrouter", "meta-llama/llama-3.3-70b:free")),
    ],
)
def test_name_is_split_at_its_first_slash(text: str, named: tuple[str, str]) -> None:
    """The provider stands before the first slash; the model may hold more of them."""
    assert parse_name(text) == named


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name(text: str) -> None:
    """What cannot be PROVIDER/MODEL is refused, in printable words."""
    with pytest.raises(MisuseError) as refused:
        parse_name(text)
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    "fields",
    [
        {"quality": 1.01},
        {"quality": -0.1},
        {"quality": float("nan")},
        {"latency_ms": 0},
        {"context_tokens": -1},
        {"output_cap_tokens": 0},
        {"capabilities": frozenset()},
        {"is_default": True, "is_active": False},
        {"notes": "x" * 2_001},
        {"notes": "\x1b[31m"},
    ],
)
def test_what_is_no_entry(fields: dict[str, Any]) -> None:
    """An entry that cannot be is not made, wherever it comes from."""
    with pytest.raises(MisuseError, match="openai/gpt-4o-mini"):
        entry(**fields)


def test_edit_keeps_what_is_not_named() -> None:
    """Only what is named changes; a part of an own price leaves its other parts."""
    before = entry(prices=OWN, quality=0.5, notes="ours")
    after = edited(before, changes={"quality": 0.8}, prices={"output_nanos_per_mtok": 7})
    assert after == replace(before, quality=0.8, prices=replace(OWN, output_nanos_per_mtok=7))
    assert edited(after, changes={}, prices={}, list_price=True).prices is None


@pytest.mark.parametrize(
    ("before", "prices", "list_price", "complaint"),
    [
        (entry(), {}, False, "nothing to change"),
        (entry(), {"output_nanos_per_mtok": 1}, False, "openai/gpt-4o-mini: a price for output needs one for input"),
        (entry(prices=OWN), {"input_nanos_per_mtok": 1}, True, "exclude each other"),
    ],
)  # fmt: skip
def test_edits_that_make_no_sense(
    before: ModelEntry, prices: dict[str, int], list_price: bool, complaint: str
) -> None:
    """Nothing to change, half a price, and two prices at once are refused."""
    with pytest.raises(MisuseError, match=complaint):
        edited(before, changes={}, prices=prices, list_price=list_price)


def test_default_is_lost_with_its_tier_or_its_activity() -> None:
    """A default that moves to another tier, or is disabled, stands for none; disabled, it cannot become one."""
    default = entry(is_default=True)
    assert not edited(default, changes={"tier": Tier.NORMAL}, prices={}).is_default
    assert edited(default, changes={"tier": Tier.CHEAP}, prices={}).is_default
    assert not switched(default, on=False).is_default
    assert switched(default, on=True) == default
    with pytest.raises(ConflictError, match="disabled"):
        made_default(switched(default, on=False))


def test_setup_leaves_what_the_owner_has_made_of_it() -> None:
    """New models are added, equal ones left, different ones named with what differs; the owner's default stays."""
    kept, changed, new, rival = (
        entry("openai/a"), entry("openai/b"), entry("openai/c", is_default=True), entry("acme/x", is_default=True)
    )  # fmt: skip
    theirs = replace(changed, quality=0.9, is_active=False)
    plan = plan_setup([kept, changed, new], [kept, theirs, rival])
    assert plan.added == (replace(new, is_default=False),)
    assert plan.same == (kept,)
    assert [(found.entry, found.shipped, found.fields) for found in plan.different] == [
        (theirs, changed, ("quality", "is_active"))
    ]
    assert plan_setup([new], []).added == (new,)


def test_price_in_force_is_that_of_the_first_who_has_one() -> None:
    """The file's before the catalogue's before the list's; of a model nobody prices, why not."""
    mini = entry(prices=OWN)
    listed = price_in_force(entry(), {}, Pricer())
    assert (listed.source, listed.output_usd_per_mtok) == (PriceSource.LIST, Decimal("0.6"))
    own = {mini.key: replace(OWN, output_nanos_per_mtok=7 * 10**9).owner_price()}
    found = price_in_force(mini, {}, Pricer(own))
    assert (found.source, found.output_usd_per_mtok, found.usd_per_request) == (PriceSource.OWN, 7, None)
    from_file = parse_owner_prices({"openai/gpt-4o-mini": {"usd_per_request": "0.25"}})
    found = price_in_force(mini, from_file, Pricer({**own, **from_file}))
    assert (found.source, found.usd_per_request) == (PriceSource.FILE, Decimal("0.25"))
    unknown = price_in_force(entry("acme/m"), {}, Pricer())
    assert (unknown.source, unknown.reason) == (PriceSource.UNKNOWN, Unpriced.UNKNOWN_MODEL)


def test_price_that_rises_with_the_input_says_where() -> None:
    """The list's price of the first tier is told with the input tokens up to which it counts."""
    price = price_in_force(entry("openai/gpt-6-luna"), {}, Pricer())
    assert (price.input_usd_per_mtok, price.up_to_tokens) == (Decimal("0.1"), 272_000)
