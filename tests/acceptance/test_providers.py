"""`batchmill providers`: the catalogue, as a user fills and changes it, and what that does to the ledger."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import Mill, assert_told, chat_line, sandbox, wait_until, write_lines
from tests.support.servers import PostgresCluster

LUNA, HAIKU = "openai/gpt-6-luna", "anthropic/claude-haiku-5-5"


def providers(mill: Mill, *arguments: str) -> Any:
    """`batchmill providers … --json`, which has to succeed; what it prints."""
    done = mill.quickly("providers", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def listed(mill: Mill, *arguments: str) -> dict[str, dict[str, Any]]:
    """The entries of `providers list`, by name."""
    return {row["name"]: row for row in providers(mill, "list", *arguments)}


def said(mill: Mill, *arguments: str) -> str:
    """What a command that succeeds tells the person at the terminal."""
    done = mill.quickly("providers", *arguments)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_setup_list_change_and_setup_again(everywhere: Mill) -> None:
    """A fresh installation gets its models; what the owner changes stays at the next setup, and is told."""
    mill = everywhere
    first = providers(mill, "setup")
    assert (len(first["added"]), first["same"], first["different"]) == (21, [], [])
    models = listed(mill)
    assert set(models) == set(first["added"])
    assert [row["tier"] for row in models.values() if row["default"]] == ["cheap", "normal", "premium"]
    assert models[LUNA]["price"]["source"] == "list"
    assert (
        models["local/llama3.3"]["price"] | {"source": "own", "input_usd_per_mtok": "0"}
        == (models["local/llama3.3"]["price"])
    )
    assert "changed" in said(
        mill, "edit", LUNA, "--input-price", "0.2", "--output-price", "0.6", "--quality", "0.8"
    )
    told = said(mill, "disable", LUNA, HAIKU)
    assert "the tier cheap has no default now" in told
    again = providers(mill, "setup", "--provider", "openai")
    assert (again["added"], len(again["same"]), again["tiers_without_default"]) == ([], 5, ["cheap"])
    [different] = again["different"]
    assert different["name"] == LUNA
    assert different["fields"]["quality"] == {"yours": 0.8, "shipped": 0.78}
    assert different["fields"]["prices"]["shipped"] is None
    assert set(different["fields"]) == {"prices", "quality", "is_active", "is_default"}
    assert said(mill, "setup", "--reset", "--yes").count("now as shipped") == 2
    assert listed(mill) == models


def test_add_edit_and_back_to_the_list_price(mill: Mill) -> None:
    """A model of any provider, slashes and all; its price is the owner's until the list's is asked for."""
    name = "openrouter/meta-llama/llama-3.3-70b-instruct"
    fields = ["--input-price", "0.5", "--output-price", "0.75", "--cached-input-price", "0.25"]
    limits = ["--context", "131072", "--max-output", "8192", "--latency-ms", "900", "--quality", "0.75"]
    [added] = providers(
        mill,
        "add",
        name,
        "--tier",
        "cheap",
        *fields,
        *limits,
        "--capabilities",
        "text, tools",
        "--notes",
        "x",
    )
    assert added == {
        "name": name, "provider": "openrouter", "model": "meta-llama/llama-3.3-70b-instruct",
        "tier": "cheap", "active": True, "default": False, "quality": 0.75, "latency_ms": 900,
        "context_tokens": 131072, "output_cap_tokens": 8192, "capabilities": ["text", "tools"], "notes": "x",
        "fallback": [],
        "price": {
            "source": "own", "input_usd_per_mtok": "0.5", "cached_input_usd_per_mtok": "0.25",
            "output_usd_per_mtok": "0.75", "usd_per_request": None, "up_to_input_tokens": None, "reason": "",
        },
    }  # fmt: skip
    [edited] = providers(mill, "edit", name, "--output-price", "0.6", "--tier", "normal")
    assert edited["price"]["output_usd_per_mtok"] == "0.6"
    assert (edited["price"]["input_usd_per_mtok"], edited["tier"], edited["quality"]) == (
        "0.5",
        "normal",
        0.75,
    )
    [back] = providers(mill, "edit", name, "--list-price")
    assert (back["price"]["source"], back["price"]["input_usd_per_mtok"]) == ("list", "0.59")
    assert listed(mill) == {name: back}
    assert providers(mill, "remove", name) == [name]
    assert listed(mill) == {}


def test_fallbacks_are_set_named_anew_and_taken_away(everywhere: Mill) -> None:
    """They are kept in their order, shown wherever the model is, and stay until they are named anew or taken away."""
    mill = everywhere
    [added] = providers(
        mill, "add", LUNA, "--tier", "cheap", "--fallback", "local/llama3.3", "--fallback", "gpt-4o"
    )
    assert added["fallback"] == ["local/llama3.3", "openai/gpt-4o"]
    [kept] = providers(mill, "edit", LUNA, "--quality", "0.8")
    assert kept["fallback"] == added["fallback"]
    assert "local/llama3.3,openai/gpt-4o" in mill.quickly("providers", "list").stdout
    [anew] = providers(mill, "edit", LUNA, "--fallback", HAIKU)
    assert anew["fallback"] == [HAIKU]
    different = providers(mill, "setup")["different"]
    assert {row["name"]: row["fields"].get("fallback") for row in different} == {
        LUNA: {"yours": [HAIKU], "shipped": []}
    }
    [bare] = providers(mill, "edit", LUNA, "--no-fallback")
    assert bare["fallback"] == listed(mill)[LUNA]["fallback"] == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fallback", LUNA], "cannot stand by for itself"),
        (["--fallback", "gpt-4o", "--fallback", "openai/gpt-4o"], "named twice"),
        ([option for n in range(6) for option in ("--fallback", f"m{n}")], "6 fallbacks; 5 are allowed"),
        (["--fallback", "auto"], "auto names no model"),
        (["--fallback", "gpt-4o", "--no-fallback"], "leave it out, or --fallback"),
    ],
)
def test_fallbacks_that_cannot_be(mill: Mill, options: list[str], told: str) -> None:
    """Refused with what is wrong, and the entry stays as it was."""
    providers(mill, "add", LUNA, "--tier", "cheap", "--fallback", "local/llama3.3")
    assert told in mill.refused("providers", "edit", LUNA, *options)
    assert listed(mill)[LUNA]["fallback"] == ["local/llama3.3"]


def test_table_is_what_a_person_reads(mill: Mill) -> None:
    """Without --json a table on standard output: price, whose it is, state; a dash where nothing is known."""
    assert mill("providers", "add", "acme/bare", "--tier", "premium").returncode == 0
    said(mill, "add", "acme/flat", "--tier", "cheap", "--request-price", "0.01")
    assert mill("providers", "set-default", "acme/flat").stdout == ""
    assert listed(mill, "--tier", "cheap", "--provider", "acme", "--active").keys() == {"acme/flat"}
    header, flat, bare = mill("providers", "list").stdout.splitlines()
    assert header.split()[:8] == ["MODEL", "TIER", "STATE", "INPUT", "CACHED", "OUTPUT", "REQUEST", "PRICE"]
    assert flat.split()[:8] == ["acme/flat", "cheap", "default", "0", "0", "0", "0.01", "own"]
    assert bare.split()[:8] == ["acme/bare", "premium", "active", "-", "-", "-", "-", "unknown"]


def test_default_enable_and_disable(mill: Mill) -> None:
    """A tier's default moves when told to; disabled it is none, and only an active model can become it."""
    assert "no price is known" in said(mill, "add", "acme/a", "--tier", "cheap")
    assert said(mill, "set-default", "acme/a") == "the default of cheap is acme/a\n"
    [disabled] = providers(mill, "disable", "acme/a", "acme/a")
    assert (disabled["active"], disabled["default"]) == (False, False)
    assert "is disabled" in mill.refused("providers", "set-default", "acme/a")
    [enabled] = providers(mill, "enable", "acme/a")
    assert (enabled["active"], enabled["default"]) == (True, False)


def test_only_looking_makes_no_home(mill: Mill, tmp_path: Path) -> None:
    """An empty catalogue is told with what fills it; the home may be named as everywhere."""
    other = str(tmp_path / "other")
    assert "`batchmill providers setup` fills it" in said(mill, "list")
    assert "added 3" in said(mill, "setup", "--provider", "gemini", "--home", other)
    assert len(listed(mill, "--home", other)) == 3
    assert not mill.home.exists()


def test_shared_database_of_an_older_schema_is_refused(mill: Mill, postgres: PostgresCluster) -> None:
    """A shared database is not upgraded in passing: the command says what to run."""
    mill.environ["DATABASE_URL"] = url = postgres.create(empty=True)
    assert "batchmill db upgrade" in mill.refused("providers", "setup")
    postgres.drop(url)


def ledger(mill: Mill) -> list[tuple[int | None, str]]:
    """What each call cost, and why not."""
    return [tuple(row) for row in mill.query("SELECT cost_nanos, cost_reason FROM ledger ORDER BY id")]


@pytest.mark.timeout(240)
def test_whose_price_counts(mill: Mill, tmp_path: Path) -> None:
    """The file's before the catalogue's before the public list's, in the ledger of what was really called."""
    (tmp_path / "prices.json").write_text(json.dumps({"openai/gpt-4o-mini": {"usd_per_request": "0.5"}}))
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "one")])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url

        def cost() -> int | None:
            mill.run(source, "-o", tmp_path / "out.jsonl", "--cache", "off")
            return ledger(mill)[-1][0]

        providers(mill, "add", "openai/gpt-4o-mini", "--tier", "cheap", "--request-price", "0.01")
        assert cost() == 10_000_000
        mill.environ["BATCHMILL_PRICES"] = str(tmp_path / "prices.json")
        assert cost() == 500_000_000
        assert listed(mill)["openai/gpt-4o-mini"]["price"]["source"] == "file"
        del mill.environ["BATCHMILL_PRICES"]
        providers(mill, "edit", "openai/gpt-4o-mini", "--list-price")
        by_list = cost()
        assert by_list is not None
        assert 0 < by_list < 1_000_000


@pytest.mark.timeout(240)
def test_price_changed_while_a_worker_runs(mill: Mill, tmp_path: Path) -> None:
    """A running worker goes by a new price without a restart; what it has entered already does not change."""
    mill.environ["BATCHMILL_LEASE_S"] = "1"
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(3_000)])
    providers(mill, "add", "openai/gpt-4o-mini", "--tier", "cheap", "--request-price", "0.01")
    with sandbox(tmp_path, "--latency", "0.1") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        running = mill.start("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "2")
        wait_until(lambda: "batches" in tables(mill) and len(ledger(mill)) >= 2, 60)
        [worker] = mill.worker_children()
        providers(mill, "edit", "openai/gpt-4o-mini", "--request-price", "0.02")
        wait_until(lambda: ledger(mill)[-1][0] == 20_000_000, 60)
        assert mill.worker_children() == [worker]
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert_told(err)
    costs = [cost for cost, _ in ledger(mill) if cost is not None]
    assert costs == sorted(costs)
    assert set(Counter(costs)) == {10_000_000, 20_000_000}


def tables(mill: Mill) -> set[str]:
    """The tables there are so far."""
    return {row[0] for row in mill.query("SELECT name FROM sqlite_master WHERE type = 'table'")}
