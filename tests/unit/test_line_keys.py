"""The cache keys of lines: what makes two lines the same question, and what does not."""

from typing import Any

import pytest

from batchmill.cache.lines import LineKeys
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, RequestLine
from batchmill.routing.names import Target
from batchmill.routing.upstreams import Upstreams
from batchmill.routing.wants import Quality, Wants, dump_wants

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
