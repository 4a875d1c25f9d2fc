"""Upstreams: whom a batch is meant for, and who may take it."""

from batchmill.routing.upstreams import Upstreams

ADDRESSES = {"openai": "https://api.openai.com/v1", "local": "http://h/v1", "gemini": "https://g"}


def of(*usable: str) -> Upstreams:
    return Upstreams(addresses=ADDRESSES, usable=frozenset(usable))


def test_the_same_providers_are_written_the_same() -> None:
    """In whatever order and however often lines name them; OpenAI's API is its address, as in batches of old."""
    assert of().of_all(["openai", "local", "openai"]) == of().of_all(["local", "openai"])
    assert of().of_all(["openai"]) == ADDRESSES["openai"]
    assert of().of_all(["local", "openai"]) == f"local={ADDRESSES['local']} {ADDRESSES['openai']}"


def test_a_worker_serves_whatever_its_providers_can_answer_together() -> None:
    """Every batch for some of them; none for anybody else, nor for the same provider elsewhere."""
    served = of("openai", "local").served()
    assert sorted(served) == sorted(
        of().of_all(some) for some in ((), ("openai",), ("local",), ("openai", "local"))
    )
    assert of().of_all(["openai", "gemini"]) not in served
    moved = Upstreams(addresses=ADDRESSES | {"local": "http://other/v1"}, usable=frozenset())
    assert moved.of("local") not in served
