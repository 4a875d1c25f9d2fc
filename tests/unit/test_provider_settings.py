"""Settings of providers: pools of keys, addresses, and which provider can be called."""

import pytest

from batchmill.errors import SettingsError
from batchmill.providers.names import ProviderName
from batchmill.settings import Settings, load_settings
from batchmill.settings.providers import GeminiTransport, GeminiVersion, ProviderSettings

KEYED = {
    ProviderName.OPENAI: "OPENAI_API_KEY",
    ProviderName.ANTHROPIC: "ANTHROPIC_API_KEY",
    ProviderName.GEMINI: "GEMINI_API_KEY",
    ProviderName.OPENROUTER: "OPENROUTER_API_KEY",
}
"""Those that want a key, with its variable."""

ADDRESSES = {
    ProviderName.OPENAI: "OPENAI_BASE_URL",
    ProviderName.ANTHROPIC: "ANTHROPIC_BASE_URL",
    ProviderName.GEMINI: "GOOGLE_GEMINI_BASE_URL",
    ProviderName.OPENROUTER: "OPENROUTER_BASE_URL",
    ProviderName.LOCAL: "LOCAL_BASE_URL",
}


def load(**environ: str) -> Settings:
    """The settings of that environment."""
    return load_settings(environ, None)


def keys_of(account: ProviderSettings) -> list[str]:
    """The keys of an account in clear."""
    return [key.get_secret_value() for key in account.api_keys]


def test_no_provider_is_usable_by_itself() -> None:
    """Each says which variable it lacks; their addresses are those of their SDKs."""
    accounts = load().providers
    assert {name: account.missing for name, account in accounts.items()} == {
        **KEYED,
        ProviderName.LOCAL: "LOCAL_BASE_URL",
    }
    assert not any(account.is_usable for account in accounts.values())
    assert {name: account.upstream for name, account in accounts.items()} == {
        ProviderName.OPENAI: "https://api.openai.com/v1",
        ProviderName.ANTHROPIC: "https://api.anthropic.com",
        ProviderName.GEMINI: "https://generativelanguage.googleapis.com",
        ProviderName.OPENROUTER: "https://openrouter.ai/api/v1",
        ProviderName.LOCAL: "",
    }


@pytest.mark.parametrize(("name", "variable"), KEYED.items())
def test_a_key_makes_its_provider_usable(name: ProviderName, variable: str) -> None:
    """That one, and no other."""
    accounts = load(**{variable: "k"}).providers
    assert [one for one, account in accounts.items() if account.is_usable] == [name]
    assert keys_of(accounts[name]) == ["k"]


@pytest.mark.parametrize(("name", "variable"), ADDRESSES.items())
@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8"])
def test_a_server_on_this_machine_needs_no_key(name: ProviderName, variable: str, host: str) -> None:
    """Whichever provider it stands in for."""
    account = load(**{variable: f"http://{host}/v1/"}).providers[name]
    assert account.is_usable
    assert account.upstream == f"http://{host}/v1"


@pytest.mark.parametrize(("name", "variable"), ADDRESSES.items())
def test_elsewhere_all_but_the_local_provider_need_one(name: ProviderName, variable: str) -> None:
    """A server of one's own may stand in another room."""
    assert load(**{variable: "http://gpu.example/v1"}).providers[name].is_usable is (name not in KEYED)


@pytest.mark.parametrize("variable", [*KEYED.values(), "LOCAL_API_KEY"])
def test_several_keys_are_a_pool(variable: str) -> None:
    """In the order given, none twice, spaces around them dropped."""
    pools = [keys_of(account) for account in load(**{variable: " b, a,b ,c"}).providers.values()]
    assert [pool for pool in pools if pool] == [["b", "a", "c"]]


@pytest.mark.parametrize("keys", ["a,,b", ",a", "a, ", ","])
def test_a_blank_in_a_pool_is_refused(keys: str) -> None:
    """It was meant to be a key."""
    with pytest.raises(SettingsError, match=r"ANTHROPIC_API_KEY is set .*commas"):
        load(ANTHROPIC_API_KEY=keys)


def test_one_bad_key_of_a_pool_is_refused() -> None:
    """Before any call, and without showing it or the others."""
    with pytest.raises(SettingsError, match=r"OPENAI_API_KEY is set .*header") as refused:
        load(OPENAI_API_KEY="sk-good-one,sk-bad one")
    assert "sk-" not in refused.value.message + refused.value.hint


def test_a_pool_is_masked_key_by_key() -> None:
    """How many there are may be seen."""
    rows = {row.variable: row.value for row in load(OPENAI_API_KEY="a,b,c").describe()}
    assert (rows["OPENAI_API_KEY"], rows["ANTHROPIC_API_KEY"]) == ("***,***,***", None)


def test_googles_other_name_for_the_key() -> None:
    """GOOGLE_API_KEY will do; GEMINI_API_KEY, which says more, goes before it."""
    assert keys_of(load(GOOGLE_API_KEY="g").gemini) == ["g"]
    assert keys_of(load(GOOGLE_API_KEY="g", GEMINI_API_KEY="m").gemini) == ["m"]


def test_how_gemini_is_spoken_to() -> None:
    """The version and what carries the calls, in any case of letters."""
    assert (load().gemini.api_version, load().gemini.transport) == (
        GeminiVersion.V1BETA,
        GeminiTransport.HTTP,
    )
    given = load(BATCHMILL_GEMINI_API_VERSION="v1", BATCHMILL_GEMINI_TRANSPORT="Google-GenerativeAI").gemini
    assert (given.api_version, given.transport) == (GeminiVersion.V1, GeminiTransport.GOOGLE_GENERATIVEAI)
    with pytest.raises(SettingsError, match="http or google-genai or google-generativeai"):
        load(BATCHMILL_GEMINI_TRANSPORT="carrier-pigeon")


@pytest.mark.parametrize(
    "address",
    ["https://h/v1?key=abc", "https://h?x=1&api_key=abc", "https://h?api-key=abc", "https://h?token=abc"],
)
def test_an_address_that_holds_a_key_is_refused(address: str) -> None:
    """Addresses are shown and kept; a key in one would be, too."""
    with pytest.raises(SettingsError, match=r"GOOGLE_GEMINI_BASE_URL .*variable of its own") as refused:
        load(GOOGLE_GEMINI_BASE_URL=address)
    assert "abc" not in refused.value.message


def test_an_address_may_have_a_query() -> None:
    """Azure's version of its API stands there."""
    address = "https://acme.example/openai/v1?api-version=preview"
    assert load(OPENAI_BASE_URL=address).openai.upstream == address


def test_a_child_process_gets_every_account() -> None:
    """Whole pools, in memory."""
    settings = load(
        OPENAI_API_KEY="a,b",
        ANTHROPIC_API_KEY="c",
        GOOGLE_API_KEY="d,e",
        OPENROUTER_API_KEY="f",
        LOCAL_BASE_URL="http://h/v1",
        LOCAL_API_KEY="g",
        BATCHMILL_GEMINI_API_VERSION="v1",
    )
    child = load_settings(settings.to_environ(), None)
    assert child.model_dump() == settings.model_dump()
    assert keys_of(child.gemini) == ["d", "e"]
