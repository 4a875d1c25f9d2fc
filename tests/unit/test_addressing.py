"""Addressing: whom lines are for, found out as they stream by."""

import tracemalloc

import pytest

from batchmill.errors import ProviderError
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.routing.addressing import Addressing


def line(model: str) -> RequestLine:
    return RequestLine(line=7, custom_id="a", endpoint=Endpoint.CHAT, model=model, body={"model": model})


def addressed(model: str, addressing: Addressing | None = None) -> RequestLine:
    found = (addressing or Addressing()).address(line(model))
    assert isinstance(found, RequestLine)
    return found


@pytest.mark.parametrize(
    ("written", "provider", "model"),
    [
        ("gpt-6", "openai", "gpt-6"),
        ("anthropic/claude", "anthropic", "claude"),
        ("openrouter/vendor/model:free", "openrouter", "vendor/model:free"),
        ("vendor/model", "openai", "vendor/model"),
        ("auto", "", "auto"),
        ("local/模型 é", "local", "模型 é"),
    ],
)
def test_who_is_asked_and_what_for(written: str, provider: str, model: str) -> None:
    """The body names the model as its provider knows it."""
    found = addressed(written)
    assert (found.provider, found.model, found.body["model"]) == (provider, model, model)


def test_a_name_of_no_model_is_an_error_of_its_line() -> None:
    """It names the field, and the others go on."""
    found = Addressing().address(line("anthropic/"))
    assert isinstance(found, LineError)
    assert (found.line, found.param) == (7, "body.model")


def test_a_provider_that_cannot_be_called_ends_the_intake() -> None:
    """There is no key: no line for it can ever be answered."""
    addressing = Addressing(unusable={"anthropic": ProviderError("there is no key", "set it")})
    assert addressed("gpt-6", addressing).provider == "openai"
    with pytest.raises(ProviderError, match="no key"):
        addressing.address(line("anthropic/claude"))


def test_a_field_that_cannot_be_said_is_an_error_of_its_line() -> None:
    """As it stands in the body of the input."""
    addressing = Addressing({"gemini": lambda endpoint, model, body: ("logprobs", f"{model} has none")})
    found = addressing.address(line("gemini/flash"))
    assert isinstance(found, LineError)
    assert (found.message, found.param) == ("flash has none", "body.logprobs")


def test_ever_new_names_take_no_memory() -> None:
    """They come from producers: an input may have a name of its own on every line, and a long one."""
    addressing = Addressing()
    tracemalloc.start()
    try:
        for nth in range(5_000):
            addressing.address(line(f"{nth:05}-{'x' * 190}"))
            addressing.address(line(f"{nth:05}-{'y' * 5_000}"))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
