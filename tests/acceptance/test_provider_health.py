"""`batchmill providers health`: who is there, since when, and what is missing, as a user asks."""

import json
import re
from pathlib import Path
from typing import Any

from tests.support.mill import Mill, sandbox

NOWHERE = "http://127.0.0.1:9/v1"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def health(mill: Mill, *arguments: str, status: int = 0) -> dict[str, dict[str, Any]]:
    """`batchmill providers health … --json`, by provider; it has to end so."""
    done = mill.quickly("providers", "health", *arguments, "--json")
    assert done.returncode == status, (done.stdout, done.stderr)
    return {row["provider"]: row for row in json.loads(done.stdout)}


def test_from_well_to_failing(everywhere: Mill, tmp_path: Path) -> None:
    """While it is there it is ok; once it is gone it fails since then, and when it was last well is known."""
    mill = everywhere
    with sandbox(tmp_path) as there:
        mill.environ |= {"OPENAI_BASE_URL": there.url, "LOCAL_BASE_URL": NOWHERE}
        first = health(mill, "openai")["openai"]
    assert (first["state"], first["address"], first["missing"]) == ("ok", there.url, None)
    assert (first["error_code"], first["error_message"]) == (None, None)
    assert MOMENT.fullmatch(first["since"])
    assert first["last_ok_at"] == first["checked_at"] == first["since"]
    then = health(mill, "openai", status=1)["openai"]
    again = health(mill, "openai", status=1)["openai"]
    assert (then["state"], then["error_code"]) == ("failing", "connect_failed")
    assert "no connection to openai" in then["error_message"]
    assert (again["since"], again["last_ok_at"]) == (then["since"], first["last_ok_at"])
    both = health(mill, "--stored", status=1)
    assert (both["openai"], both["local"]["state"]) == (again, "not_checked")


def test_all_of_them_at_once(mill: Mill, tmp_path: Path) -> None:
    """Those without a key or address are told with their variable and asked nothing; they are no failure."""
    mill.environ["OPENAI_API_KEY"] = ""
    with sandbox(tmp_path) as there:
        mill.environ["LOCAL_BASE_URL"] = there.url
        found = health(mill)
    assert {name: (row["state"], row["missing"]) for name, row in found.items()} == {
        "openai": ("not_set_up", "OPENAI_API_KEY"),
        "anthropic": ("not_set_up", "ANTHROPIC_API_KEY"),
        "gemini": ("not_set_up", "GEMINI_API_KEY"),
        "openrouter": ("not_set_up", "OPENROUTER_API_KEY"),
        "local": ("ok", None),
    }


def test_what_a_person_reads(mill: Mill) -> None:
    """A row for each, with the address and what to set; the error last, as it is the longest."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    done = mill("providers", "health")
    assert done.returncode == 1
    heading, *rows = done.stdout.splitlines()
    names = ["PROVIDER", "ADDRESS", "STATE", "SINCE", "CHECKED", "LATENCY", "MS", "LAST", "OK", "ERROR"]
    assert heading.split() == names
    by_name = {row.split()[0]: row for row in rows}
    assert re.search(
        rf"{NOWHERE} +failing +{MOMENT.pattern} .*connect_failed: no connection", by_name["openai"]
    )
    assert "https://api.anthropic.com" in by_name["anthropic"]
    assert "no key: set ANTHROPIC_API_KEY" in by_name["anthropic"]
    assert "no address: set LOCAL_BASE_URL" in by_name["local"]


def test_one_that_is_named_has_to_be_set_up(mill: Mill) -> None:
    """Whoever asks for it by name wants to know."""
    assert health(mill, "gemini", status=1)["gemini"]["missing"] == "GEMINI_API_KEY"


def test_looking_at_what_is_stored_makes_no_home(mill: Mill) -> None:
    """Nobody is asked, and nothing is left behind."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    assert health(mill, "--stored", "openai")["openai"]["state"] == "not_checked"
    assert not mill.home.exists()


def test_an_unknown_provider(mill: Mill) -> None:
    """The five are named."""
    told = mill.refused("providers", "health", "openai", "acme")
    assert "'acme' is no provider; there are openai, anthropic, gemini, openrouter, local" in told
