"""What a producer has to know of the service: the same places as all settings, without what makes those slow."""

import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.errors import SettingsError
from batchmill.settings import load_settings
from batchmill.settings.contact import Contact, load_contact

SECRET = "bm-not-for-your-eyes"


def test_nothing_is_needed():
    """Without any variable the service is that of the home."""
    contact = load_contact(environ={}, dotenv=None)
    assert contact == Contact(base_url=None, api_key=None, home=Path.home() / ".batchmill")


@pytest.mark.parametrize("place", ["environment", "secrets", "dotenv"])
def test_it_reads_what_all_settings_read(place, tmp_path):
    """The client and the service of one folder mean the same home, address and key, wherever they are set."""
    lines = {
        "BATCHMILL_BASE_URL": "http://mill.internal:8400",
        "BATCHMILL_API_KEY": SECRET,
        "BATCHMILL_HOME": str(tmp_path / "home"),
    }
    file = tmp_path / "file"
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    file.chmod(0o600)
    environ = {
        "environment": lines,
        "secrets": {"BATCHMILL_SECRETS": str(file)},
        "dotenv": {},
    }[place]
    dotenv = file if place == "dotenv" else None
    contact, settings = load_contact(environ=environ, dotenv=dotenv), load_settings(environ, dotenv)
    assert (contact.base_url, contact.home) == (settings.client.base_url, settings.home)
    assert settings.client.api_key is not None
    assert contact.api_key == settings.client.api_key.get_secret_value() == SECRET


def test_what_is_given_wins_and_empty_is_not_set():
    """Arguments go before variables; an empty variable hides what later places say."""
    environ = {"BATCHMILL_BASE_URL": "", "BATCHMILL_API_KEY": "bm-other"}
    contact = load_contact(url="https://mill.example", api_key=SECRET, environ=environ, dotenv=None)
    assert (contact.base_url, contact.api_key) == ("https://mill.example", SECRET)
    assert load_contact(environ=environ, dotenv=None).base_url is None


@pytest.mark.parametrize("url", ["http://mill:8400/v1", "http://mill:8400/v1/", "http://mill:8400"])
def test_an_address_may_end_as_other_clients_want_it(url):
    """What one gives to OpenAI's client as base_url does for ours, too."""
    assert load_contact(url=url, environ={}, dotenv=None).base_url == "http://mill:8400"


@pytest.mark.parametrize(
    ("url", "why"),
    [("mill:8400", "it is no URL"), ("ftp://mill", "ftp is not supported"), ("http://", "it is no URL")],
)
def test_an_address_that_is_none_is_told(url, why):
    """The message names the variable and what is wrong with it."""
    with pytest.raises(SettingsError, match="BATCHMILL_BASE_URL") as told:
        load_contact(environ={"BATCHMILL_BASE_URL": url}, dotenv=None)
    assert why in told.value.message


def test_a_key_that_no_header_carries_is_told_and_not_shown():
    """A key pasted with its line break is refused by the variable's name."""
    with pytest.raises(SettingsError, match="BATCHMILL_API_KEY") as told:
        load_contact(environ={"BATCHMILL_API_KEY": f"{SECRET} 2"}, dotenv=None)
    assert SECRET not in str(told.value) + told.value.hint
    assert SECRET not in repr(load_contact(api_key=SECRET, environ={}, dotenv=None))


def test_it_is_read_without_pydantic():
    """A producer does not pay for the checks of settings that are not its own."""
    code = "import sys, batchmill.settings.contact; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
