"""`batchmill providers explain`: who would answer a request and why, and what has become of one."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import Mill, Sandbox, chat_line, read_lines, sandbox, write_lines

NOWHERE = "http://127.0.0.1:9/v1"
CHEAP, GOOD, LOCAL = "openai/gpt-4o-mini", "openai/gpt-4o", "local/llama3.3"
HARD = "Prove step by step why this is so."
PRICES = ("--input-price", "1", "--output-price", "2")


@pytest.fixture
def stocked(mill: Mill) -> Mill:
    """An installation with a small catalogue, and nobody to call so far."""
    mill.environ |= {"OPENAI_BASE_URL": NOWHERE, "LOCAL_BASE_URL": NOWHERE}
    add(mill, CHEAP, "--tier", "cheap", "--quality", "0.75", "--latency-ms", "900", *PRICES)
    add(mill, GOOD, "--tier", "premium", "--quality", "0.95", "--input-price", "5", "--output-price", "9")
    add(mill, "anthropic/claude-opus-5-5", "--tier", "premium", "--quality", "0.94")
    return mill


def add(mill: Mill, *arguments: str) -> None:
    """`batchmill providers add …`, which has to succeed."""
    done = mill.quickly("providers", "add", *arguments)
    assert done.returncode == 0, done.stderr


def explained(mill: Mill, request: str | Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    """`batchmill providers explain … --json`, which has to end so; what it prints."""
    done = mill.quickly("providers", "explain", request, *arguments, "--json")
    assert done.returncode == status, (done.stdout, done.stderr)
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["can_be_answered"] is (status == 0)
    return said


def turns(said: dict[str, Any]) -> dict[str, str]:
    """When each model of a choice is asked."""
    models = said["plan"]["selection"]["models"]
    return {f"{one['provider']}/{one['model']}": one["turn"] for one in models}


def chain(said: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Who is asked, who has named them, and when."""
    links = said["plan"]["chain"]
    return [(f"{one['provider']}/{one['model']}", one["named_by"], one["turn"]) for one in links]


def test_the_choice_and_every_rejection(stocked: Mill, tmp_path: Path) -> None:
    """The cheapest that is good enough is next, the others stand by or are out, each with its reason and figures."""
    lines = [chat_line("easy", "Name a river.", model="auto"), chat_line("hard", HARD, model="auto")]
    source = write_lines(tmp_path / "in.jsonl", lines)
    easy = explained(stocked, source)
    assert (easy["custom_id"], easy["plan"]["asked"], easy["plan"]["next"]) == ("easy", "auto", CHEAP)
    assert turns(easy) == {CHEAP: "next", GOOD: "stands_by", "anthropic/claude-opus-5-5": "out"}
    hard = explained(stocked, source, "--line", "2")
    assert (hard["line"], hard["plan"]["next"]) == (2, GOOD)
    choice = hard["plan"]["selection"]
    assert (choice["complexity"], choice["least_quality"], choice["needs"]) == ("complex", 0.9, ["text"])
    assert "prove" in choice["complexity_why"]
    by_name = {one["model"]: one for one in choice["models"]}
    assert by_name["gpt-4o-mini"]["why_not"] == "quality"
    assert by_name["gpt-4o-mini"]["latency_ms"] == 900
    assert by_name["gpt-4o-mini"]["latency_from"] == "catalogue"
    assert float(by_name["gpt-4o"]["expected_usd"]) > 0
    assert "no key" in by_name["claude-opus-5-5"]["reason"]


def test_what_is_wanted_counts_as_in_a_run(stocked: Mill, tmp_path: Path) -> None:
    """Options and the line's own wishes, which go before them; where nothing fits it fails, and status is 1."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "Name a river.", model="auto")])
    assert explained(stocked, source, "--quality", "premium")["plan"]["next"] == GOOD
    assert explained(stocked, source, "--complexity", "complex")["plan"]["next"] == GOOD
    capped = explained(stocked, source, "--complexity", "complex", "--user-tier", "normal", status=1)
    assert capped["plan"]["fault"]["code"] == "no_model_fits"
    assert "may have normal at most" in capped["plan"]["fault"]["message"]
    slow = explained(stocked, source, "--max-latency", "0.5", status=1)
    assert slow["plan"]["selection"]["max_latency_ms"] == 500
    asked = json.loads(chat_line("a", "Name a river.", model="auto")) | {"routing": {"complexity": "complex"}}
    own = write_lines(tmp_path / "own.jsonl", [json.dumps(asked)])
    assert explained(stocked, own, "--complexity", "simple")["plan"]["next"] == GOOD


def test_what_a_person_reads(stocked: Mill, tmp_path: Path) -> None:
    """What it is taken to be, who is next, and a row for every model: the choice first, then who is out."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line("hard", HARD, model="auto")])
    done = stocked("providers", "explain", source, "--type", "lesson")
    assert done.returncode == 0, done.stderr
    heading, table = done.stdout.split("\n\n")
    said = dict(line.split("  ", 1) for line in heading.splitlines())
    assert said["next"].strip() == GOOD
    assert said["tier"].strip() == "premium: type lesson prefers normal"
    names, first, *others = table.splitlines()
    assert names.split() == [
        "MODEL",
        "TURN",
        "QUALITY",
        "TIER",
        "LATENCY",
        "MS",
        "KNOWN",
        "FROM",
        "EXPECTED",
        "WHY",
    ]
    assert first.split()[:2] == [GOOD, "next"]
    assert [row.split()[1] for row in others] == ["out", "out"]
    assert "its quality is 0.75, and a complex question needs 0.90" in table


def test_an_empty_catalogue_says_how_to_fill_it(mill: Mill, tmp_path: Path) -> None:
    """Without a database nobody can be chosen; the command for that is named, and no home is made."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "Name a river.", model="auto")])
    said = explained(mill, source, status=1)
    assert "`batchmill providers setup`" in said["plan"]["fault"]["message"]
    assert not mill.home.exists()


def test_whose_the_fallbacks_are(stocked: Mill, tmp_path: Path) -> None:
    """The line's go before the batch's, those before the catalogue's; a chain ends there."""
    assert stocked.quickly("providers", "edit", CHEAP, "--fallback", GOOD).returncode == 0
    assert stocked.quickly("providers", "edit", GOOD, "--fallback", LOCAL).returncode == 0
    plain = chat_line("a", "Name a river.")
    source = write_lines(tmp_path / "in.jsonl", [plain])
    assert chain(explained(stocked, source)) == [(CHEAP, "asked", "next"), (GOOD, "catalogue", "stands_by")]
    assert chain(explained(stocked, source, "--fallback", LOCAL)) == [
        (CHEAP, "asked", "next"),
        (LOCAL, "batch", "stands_by"),
    ]
    own = json.loads(plain) | {"routing": {"fallback": ["anthropic/claude-opus-5-5", LOCAL]}}
    source = write_lines(tmp_path / "own.jsonl", [json.dumps(own)])
    assert chain(explained(stocked, source, "--fallback", GOOD)) == [
        (CHEAP, "asked", "next"),
        ("anthropic/claude-opus-5-5", "line", "out"),
        (LOCAL, "line", "stands_by"),
    ]


def test_who_rests_is_passed_over(stocked: Mill, tmp_path: Path) -> None:
    """A model that is left alone is told with its circuit; who stands by is next, and without anybody it waits."""
    until_ms = int(time.time() * 1000) + 3_600_000
    stocked.execute(
        "INSERT INTO circuits VALUES"
        f" ('openai', 'gpt-4o-mini', 'open', 0, 3, {until_ms}, 0, 0, 'failing', 'out of order')"
    )
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "Name a river.")])
    alone = explained(stocked, source)
    assert (alone["plan"]["next"], chain(alone)) == (None, [(CHEAP, "asked", "rests")])
    circuit = alone["plan"]["chain"][0]["circuit"]
    assert (circuit["reason"], circuit["times"]) == ("out of order", 3)
    assert alone["plan"]["waits_until"] == circuit["until"]
    assert explained(stocked, source, "--fallback", GOOD)["plan"]["next"] == GOOD
    any_model = write_lines(tmp_path / "auto.jsonl", [chat_line("a", "Name a river.", model="auto")])
    chosen = explained(stocked, any_model)
    assert turns(chosen)[CHEAP] == "rests"
    assert chosen["plan"]["next"] == GOOD
    until = explained(stocked, any_model, "--max-latency", "1")["plan"]
    assert (until["next"], until["waits_until"]) == (None, circuit["until"])


def test_what_a_provider_cannot_be_asked(stocked: Mill, tmp_path: Path) -> None:
    """A fallback that cannot take the request is out, with what it cannot take; asked for itself it is refused."""
    stocked.environ |= {"ANTHROPIC_API_KEY": "x", "ANTHROPIC_BASE_URL": NOWHERE}
    line = chat_line("a", "Name a river.", n=2)
    said = explained(
        stocked, write_lines(tmp_path / "in.jsonl", [line]), "--fallback", "anthropic/claude-opus-5-5"
    )
    assert [turn for _, _, turn in chain(said)] == ["next", "out"]
    assert "n" in said["plan"]["chain"][1]["why_not"].split()[0]
    line = chat_line("a", "Name a river.", n=2, model="anthropic/claude-opus-5-5")
    said = explained(stocked, write_lines(tmp_path / "in.jsonl", [line]), status=1)
    assert said["refused"]


def test_a_model_without_a_key_is_refused(stocked: Mill, tmp_path: Path) -> None:
    """A line for it would not be taken in here, whoever stands by."""
    line = chat_line("a", "Name a river.", model="anthropic/claude-opus-5-5")
    said = explained(stocked, write_lines(tmp_path / "in.jsonl", [line]), "--fallback", GOOD, status=1)
    assert "ANTHROPIC_API_KEY" in said["refused"]


def test_any_input_that_a_run_takes(stocked: Mill, tmp_path: Path) -> None:
    """A table, plain lines, standard input; what is wrong with a line is told, and a line that is not there."""
    table = write_lines(tmp_path / "in.csv", ["id,prompt", "a,Name a river.", "b," + HARD])
    assert explained(stocked, table, "--line", "3", "--model", "auto")["custom_id"] == "b"
    done = stocked(
        "providers", "explain", "-", "--json", stdin='{"id": "x", "prompt": "Hi", "model": "gpt-4o"}\n'
    )
    assert json.loads(done.stdout)["plan"]["next"] == GOOD
    assert "no request on line 9" in stocked.refused(
        "providers", "explain", table, "--line", "9", "--model", "a"
    )
    bad = write_lines(tmp_path / "bad.jsonl", ["{"])
    assert "line 1: invalid_json_line" in stocked.refused("providers", "explain", bad)


@pytest.fixture
def fallen_back(stocked: Mill, tmp_path: Path) -> tuple[Mill, Sandbox]:
    """A run of four lines: one of OpenAI's own, one that a fallback answered, one chosen, one that was refused."""
    mill = stocked
    mill.environ["BATCHMILL_BACKOFF_BASE_S"] = "0.02"
    far = json.loads(chat_line("far", "Name a lake.", model="sandbox/500")) | {
        "routing": {"fallback": [LOCAL]}
    }
    lines = [
        chat_line("own", "Name a river."),
        json.dumps(far),
        chat_line("any", "Name a hill.", model="auto"),
        chat_line("bad", "Name a town.", model="sandbox/400"),
    ]
    with sandbox(tmp_path) as there:
        mill.environ |= {"OPENAI_BASE_URL": there.url, "LOCAL_BASE_URL": there.url}
        done = mill("run", write_lines(tmp_path / "in.jsonl", lines), "-o", tmp_path / "out.jsonl")
        assert "3 of 4 answered" in done.stderr, done.stderr
    return mill, there


@pytest.mark.timeout(180)
def test_what_has_become_of_a_line(fallen_back: tuple[Mill, Sandbox], tmp_path: Path) -> None:
    """Its state, its calls with their errors and costs, and its path; and in the output who has answered."""
    mill, _ = fallen_back
    far = explained(mill, "latest:far")
    assert (far["state"], far["asked"], far["answered_by"]) == ("done", "openai/sandbox/500", LOCAL)
    assert [(call["number"], call["model"]) for call in far["attempts"]] == [
        (1, "sandbox/500"),
        (2, "sandbox/500"),
        (3, "llama3.3"),
    ]
    assert far["attempts"][0]["error"]
    assert far["attempts"][1]["reason"] == far["attempts"][0]["error"]
    assert (far["attempts"][2]["error"], far["attempts"][2]["state"]) == (None, "settled")
    assert [(step["what"], step["model"]) for step in far["path"]] == [
        ("tried", "sandbox/500"),
        ("answered", "llama3.3"),
    ]
    assert far["plan"] is None
    own = explained(mill, f"{far['batch_id']}:own")
    assert (own["answered_by"], own["path"], own["from_cache"]) == (CHEAP, [], False)
    assert float(own["attempts"][0]["cost_usd"]) > 0
    assert explained(mill, "latest:bad", status=1)["state"] == "failed"
    notes = {line["custom_id"]: line.get("batchmill") for line in read_lines(tmp_path / "out.jsonl")}
    assert notes == {
        "own": None,
        "far": {"asked_model": "sandbox/500", "provider": "local", "model": "llama3.3"},
        "any": {"asked_model": "auto", "provider": "openai", "model": "gpt-4o-mini"},
    }
    told = mill.quickly("providers", "explain", "latest:far").stdout
    assert f"of {LOCAL}" in told
    assert "tried" in told
    assert "has no line" in mill.refused("providers", "explain", "latest:nobody")
    assert "of its own" in mill.refused("providers", "explain", "latest:far", "--quality", "premium")


@pytest.mark.timeout(180)
def test_what_comes_next_of_a_line_that_has_not_ended(stocked: Mill, tmp_path: Path) -> None:
    """While it waits, it is told with its batch's state and with who would be asked."""
    stocked.environ["OPENAI_API_KEY"] = stocked.environ["LOCAL_API_KEY"] = "x"
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", HARD, model="auto")])
    submitted = stocked.quickly("submit", source, "--user-tier", "premium", "--json")
    batch = json.loads(submitted.stdout)["id"]
    said = explained(stocked, f"{batch}:a")
    assert (said["state"], said["batch_state"], said["attempts"]) == ("pending", "in_progress", [])
    assert said["plan"]["next"] == GOOD
    assert said["plan"]["selection"]["user_tier"] == "premium"
    assert stocked.quickly("cancel", batch).returncode == 0
    assert explained(stocked, f"{batch}:a", status=1)["state"] == "cancelled"
