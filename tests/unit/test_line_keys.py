"""The cache keys of lines: what makes two lines the same question, and what does not."""

from typing import Any

import orjson
import pytest

from batchmill.budgets.offers import CallOffers
from batchmill.cache.lines import LineKeys
from batchmill.money.bounds import Bounds
from batchmill.money.prices import Pricer
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, RequestLine
from batchmill.requests.work import Bounded
from batchmill.routing.names import Target
from batchmill.routing.upstreams import Upstreams
from batchmill.routing.wants import Quality, Wants, dump_wants
from tests.unit.test_judge import attempt

ADDRESSES = {"openai": "https://api.openai.com/v1", "local": "http://127.0.0.1:8000/v1"}
BOTH = Upstreams(addresses=ADDRESSES, usable=frozenset(ADDRESSES))
ONE = Upstreams(addresses=ADDRESSES, usable=frozenset({"openai"}))
MOVED = Upstreams(addresses=ADDRESSES | {"local": "http://127.0.0.1:9000/v1"}, usable=BOTH.usable)
PREMIUM = dump_wants(Wants(quality=Quality.PREMIUM))
FALLBACK = dump_wants(Wants(fallback=(Target(provider="local", model="llama"),)))


def key(*, upstreams: Upstreams = BOTH, options: dict[str, Any] | None = None, **fields: Any) -> bytes | None:
    """The key of a line for any model, with other fields if any are given."""
    line = RequestLine(
        line=1,
        custom_id="a",
        endpoint=Endpoint.CHAT,
        model="auto",
        body={"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
        provider="",
    )
    return LineKeys(BatchOptions(**(options or {})), upstreams).key(line._replace(**fields))


@pytest.mark.parametrize(
    "other",
    [
        {"routing": PREMIUM},
        {"options": {"routing": PREMIUM}},
        {"request_type": "quiz"},
        {"options": {"request_type": "quiz"}},
        {"options": {"tenant": "other"}},
        {"upstreams": ONE},
        {"upstreams": MOVED},
        {"provider": "openai"},
    ],
)
def test_who_wants_another_model_asks_another_question(other: dict[str, Any]) -> None:
    """Where the choice is ours, all that it goes by is part of the question."""
    assert key(**other) != key()


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"routing": PREMIUM}, {"options": {"routing": PREMIUM}}),
        ({"request_type": "quiz"}, {"options": {"request_type": "quiz"}}),
        ({}, {"routing": FALLBACK}),
        ({"provider": "local"}, {"provider": "local", "routing": PREMIUM, "request_type": "quiz"}),
        ({"provider": "openai"}, {"provider": "openai", "upstreams": MOVED}),
    ],
)
def test_the_same_wish_is_the_same_question(one: dict[str, Any], same: dict[str, Any]) -> None:
    """Wherever it is said; and a line that names its model is not another for what it wants besides."""
    assert key(**one) == key(**same) is not None


def test_what_may_not_be_shared_has_no_key() -> None:
    """Neither taken from the cache nor given to another."""
    assert key(options={"cache": CacheMode.OFF}) is None


@pytest.mark.parametrize("bounded", [Bounded.NOT, Bounded.CLOSELY])
def test_a_fallback_is_asked_what_a_line_that_names_it_asks(bounded: Bounded) -> None:
    """So it finds what it has answered before: of the same tenant, at the same address."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
    job = attempt().job
    job.body = orjson.dumps(body)
    named = {"provider": "local", "model": "llama", "body": body | {"model": "llama"}}
    offers = CallOffers(Bounds(Pricer(), output_cap_tokens=100), BOTH)
    offered = offers.offer(job, Target(provider="local", model="llama"), bounded).asked.cache_key
    own = key(options={"tenant": job.batch.tenant}, **named)
    assert own is not None
    assert offered == own.hex()
    assert offered != job.cache_key
    assert offers.offer(job, job.asked, bounded).asked.cache_key is None, "its own question has its own key"
