"""Names of models: whom a request means by what it writes."""

import pytest

from batchmill.errors import MisuseError
from batchmill.routing.names import AUTO_TARGET, PROVIDERS, Target, parse_target


def parsed(text: str, default_provider: str = "openai") -> tuple[str, str]:
    return parse_target(text, default_provider=default_provider).key


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_known_provider_before_the_first_slash(provider: str) -> None:
    """It is whom the request means; the rest is the model, with whatever slashes it has."""
    assert parsed(f"{provider}/a/b") == (provider, "a/b")


@pytest.mark.parametrize("text", ["gpt-4o-mini", "ft:gpt-4o:acme::1", "acme/a", "OpenAI/a", "/a", "a/"])
def test_anything_else_is_a_model_of_the_default_provider(text: str) -> None:
    """Also with a slash in it: many models are named so, and the name is left as it is."""
    assert parsed(text, "local") == ("local", text)


def test_auto_leaves_the_choice_to_us() -> None:
    """Whoever the default provider is."""
    assert parse_target("auto", default_provider="local") == AUTO_TARGET
    assert AUTO_TARGET.is_auto


@pytest.mark.parametrize("text", ["openai/auto", "Auto", "auto ", "auto/x"])
def test_only_auto_as_a_whole_does(text: str) -> None:
    """A model that somebody named auto is a model like others."""
    assert not parse_target(text, default_provider="openai").is_auto


@pytest.mark.parametrize("text", ["", "openai/"])
def test_no_model_is_named(text: str) -> None:
    """That is told, with what can be written."""
    with pytest.raises(MisuseError, match="names no model") as told:
        parsed(text)
    assert "PROVIDER/MODEL" in told.value.hint


@pytest.mark.parametrize("text", ["gpt-4o", "openrouter/openai/gpt-oss-120b", "auto"])
def test_a_name_is_read_back(text: str) -> None:
    """What is shown can be written in a request, and means the same whatever the default is there."""
    target = parse_target(text, default_provider="openai")
    assert parse_target(target.name, default_provider="local") == target


def test_a_target_has_the_key_of_the_catalogue() -> None:
    """Prices and entries are found by it."""
    assert Target(provider="openai", model="gpt-4o").key == ("openai", "gpt-4o")
