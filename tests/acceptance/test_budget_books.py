"""batchmill budget reconcile and audit: what is unknown is settled by the provider's bill, and the books are proved."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import BATCHMILL, Mill, chat_line, sandbox, write_lines

LINES = 6
UNKNOWN = 3
RESET = "sandbox/reset"
PRICES = {f"openai/{RESET}": {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2"}}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """One that has spent on two budgets, with calls of which nobody knows what they cost; not to be changed."""
    folder = tmp_path_factory.mktemp("unknown")
    mill = spent(folder)
    yield mill
    mill.close()


@pytest.fixture
def own(installation: Mill, tmp_path: Path) -> Iterator[Mill]:
    """A copy of it, to be changed."""
    shutil.copytree(installation.folder, tmp_path / "own")
    mill = Mill(folder=tmp_path / "own", environ=installation.environ)
    yield mill
    mill.close()


def spent(folder: Path) -> Mill:
    prices = folder / "prices.json"
    prices.write_text(json.dumps(PRICES))
    lines = [
        chat_line(f"line-{n}", f"question {n}", model=RESET if n % 2 else "gpt-4o-mini", max_tokens=20)
        for n in range(LINES)
    ]
    source = write_lines(folder / "in.jsonl", lines)
    with sandbox(folder) as witness:
        environ = {"OPENAI_BASE_URL": witness.url, "OPENAI_API_KEY": "x"}
        mill = Mill(folder=folder, environ=environ | {"BATCHMILL_PRICES": str(prices)})
        try:
            assert mill.quickly("budget", "set", "global", "--total", "5").returncode == 0
            assert mill.quickly("budget", "set", "tenant", "local", "--total", "4").returncode == 0
            done = mill("run", source, "-o", folder / "out.jsonl", "--on-unknown", "fail")
            assert f"{UNKNOWN} calls recorded as unknown" in done.stderr, done.stderr + mill.worker_log()
        except BaseException:
            mill.close()
            raise
    return mill


def told(mill: Mill, *arguments: str | Path) -> Any:
    done = mill.quickly(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def unknown(mill: Mill) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = told(mill, "budget", "reconcile")["calls"]
    return calls


def charged(mill: Mill) -> list[tuple[Decimal, Decimal]]:
    """Of each budget: spent, and the part of it that is unknown."""
    return [(Decimal(row["spent_usd"]), Decimal(row["unknown_usd"])) for row in told(mill, "budget", "list")]


def test_the_list_has_what_a_provider_needs(installation: Mill) -> None:
    """The name under which it saw each call, which line it was of, when it was made, what is charged for it."""
    shown = told(installation, "budget", "reconcile")
    calls = shown["calls"]
    assert (shown["unknown"], shown["without_hold"], len(calls)) == (UNKNOWN, 0, UNKNOWN)
    assert [call["custom_id"] for call in calls] == ["line-1", "line-3", "line-5"]
    log = (installation.folder / "calls.jsonl").read_text().splitlines()
    seen = {json.loads(line)["client_request_id"] for line in log}
    assert {call["request_id"] for call in calls} <= seen
    assert Decimal(shown["charged_usd"]) == sum(Decimal(call["charged_usd"]) for call in calls) > 0
    assert {(call["provider"], call["model"], call["attempt"]) for call in calls} == {("openai", RESET, 1)}
    done = installation.quickly("budget", "reconcile", "--limit", "2")
    assert len(done.stdout.splitlines()) == 3
    assert "3 unknown calls, 2 of them shown, charged at $" in done.stderr


def test_calls_to_several_providers_are_told_apart(own: Mill) -> None:
    """As soon as one is not OpenAI's, each model is named with its provider."""
    plain = own.quickly("budget", "reconcile").stdout
    own.execute(
        "UPDATE attempts SET provider = 'anthropic'"
        " WHERE id = (SELECT min(id) FROM attempts WHERE state = 'unknown')"
    )
    shown = own.quickly("budget", "reconcile").stdout
    assert "/" + RESET not in plain
    assert [f"/{RESET}" in row for row in shown.splitlines()] == [False, True, True, True]
    assert shown.count(f"anthropic/{RESET}") == 1


def test_the_status_says_where_to_look(installation: Mill) -> None:
    """A batch with unknown calls names the command that settles them, and that command takes it."""
    shown = installation.quickly("status", "latest").stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("unknown ")]
    command = line.split("`")[1].split()
    assert f"{UNKNOWN} calls" in line
    assert len(told(installation, *command[1:])["calls"]) == UNKNOWN


@pytest.mark.parametrize("kind", ["csv", "jsonl", "-", "pipe"])
def test_a_provider_s_evidence_settles_them(own: Mill, kind: str) -> None:
    """From a file, standard input or a pipe: budgets, usage and batch have the cost, and the audit is clean."""
    before, calls = charged(own), unknown(own)
    held = sum(Decimal(call["charged_usd"]) for call in calls)
    names = [call["request_id"] for call in calls]
    text = "request_id,cost_usd\n" + "".join(f"{name},0.0025\n" for name in names)
    if kind == "jsonl":
        text = "".join(json.dumps({"client_request_id": name, "cost_usd": "0.0025"}) + "\n" for name in names)
    path = own.folder / f"evidence.{kind}"
    path.write_text(text)
    if kind in ("csv", "jsonl"):
        done = own.quickly("budget", "reconcile", path)
    elif kind == "-":
        done = own("budget", "reconcile", "-", stdin=text)
    else:
        done = subprocess.run(
            ["bash", "-c", f"'{BATCHMILL}' budget reconcile <(cat '{path}')"],
            env=own.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, "3 calls settled at $0.0075" in done.stderr) == (0, True), done.stderr
    assert charged(own) == [(spent - held + Decimal("0.0075"), 0) for spent, _ in before]
    for line, scope in zip(done.stdout.splitlines()[1:], ("global", "tenant"), strict=True):
        assert (line.split()[0], Decimal(line.split()[-1])) == (scope, Decimal("0.0075") - held)
    (row,) = [row for row in told(own, "usage")["rows"] if row["model"] == RESET]
    assert (row["unknown"], row["cost_usd"]) == (0, "0.0075")
    assert told(own, "status", "latest")["unknown_attempts"] == 0
    assert "nothing is unknown" in own.quickly("budget", "reconcile").stderr
    assert told(own, "budget", "audit")["clean"]
    assert own.quickly("doctor").returncode == 0
    again = told(own, "budget", "reconcile", path)
    assert (again["settled"], again["known"], again["cost_usd"]) == (0, 3, "0")


def test_by_hand_by_word_and_only_tried(own: Mill) -> None:
    """One call by its name, the others as held; what is only tried changes nothing."""
    first, *others = unknown(own)
    before = charged(own)
    tried = told(own, "budget", "reconcile", "--all", "--as", "free", "--dry-run")
    assert (tried["dry_run"], tried["settled"], tried["cost_usd"]) == (True, 3, "0")
    assert charged(own) == before
    one = told(own, "budget", "reconcile", "--call", first["request_id"], "--cost", "0")
    assert {row["change_usd"] for row in one["budgets"]} == {f"-{first['charged_usd']}"}
    refused = own.refused("budget", "reconcile", "--call", first["request_id"], "--cost", "1")
    assert "is known already: $0, and not $1" in refused
    none = told(own, "budget", "reconcile", "--all", "--as", "hold", "--older-than", "1d")
    assert none["settled"] == 0
    rest = told(own, "budget", "reconcile", "--all", "--as", "hold", "--since", "1d", "--batch", "latest")
    held = sum(Decimal(call["charged_usd"]) for call in others)
    assert (rest["settled"], Decimal(rest["cost_usd"])) == (2, held)
    assert {row["change_usd"] for row in rest["budgets"]} == {"0"}
    assert told(own, "budget", "audit")["clean"]


BAD = {
    "request_id,cost_usd\n{name},$1\n": "line 2: cost_usd: '$1' is no cost",
    "request_id,cost_usd\n{name},-1\n": "line 2: cost_usd: '-1' is no cost",
    "request_id,cost_usd\n{name},NaN\n": "line 2: cost_usd: 'NaN' is no cost",
    "request_id,cost_usd\n{name},\n": "line 2: cost_usd is missing",
    "request_id,cost_usd\nreq_123,1\n": "line 2: 'req_123' is no name of a call",
    "id,cost_usd\n{name},1\n": "the evidence has the columns id, cost_usd",
    '{{"request_id": "{name}", "cost_usd": 1}}\n{{oops\n': "line 2: it is no JSON object",
    "request_id,cost_usd\n{name},1\nx,1\n{name},$1\n": "2 lines are no evidence; nothing was settled",
    "": "the input is empty",
}


def test_of_bad_evidence_nothing_is_taken(installation: Mill, tmp_path: Path) -> None:
    """Each bad line is told, with its number; the good ones beside it are not taken either."""
    before = charged(installation)
    name = unknown(installation)[0]["request_id"]
    for number, (text, said) in enumerate(BAD.items()):
        path = tmp_path / f"{number}.txt"
        path.write_text(text.format(name=name))
        assert said in installation.refused("budget", "reconcile", path)
    assert "No such file" in installation.refused("budget", "reconcile", tmp_path / "none.csv")
    assert "Is a directory" in installation.refused("budget", "reconcile", tmp_path)
    assert charged(installation) == before


MISUSES: list[tuple[list[str], str]] = [
    (["--all"], "--all and --as go together"),
    (["--as", "free"], "--all and --as go together"),
    (["--cost", "1"], "--call and --cost go together"),
    (["--call", "x"], "--call and --cost go together"),
    (["--call", "batch_req_abc_1/1", "--cost", "-1"], "--cost: '-1' is no cost"),
    (["--call", "batch_req_abc_1/1", "--cost", "$1"], "--cost: '$1' is no cost"),
    (["--call", "foo", "--cost", "1"], '"foo" is no name of a call'),
    (["--call", "batch_req_abc_1/1", "--cost", "1"], "there is no call batch_req_abc_1/1"),
    (["x.csv", "--all", "--as", "free"], "EVIDENCE and --all exclude each other"),
    (["x.csv", "--batch", "latest"], "are for the list and --all"),
    (["x.csv", "--call", "", "--cost", "1"], "EVIDENCE and --call exclude each other"),
    (["--all", "--as", "free", "--limit", "1"], "--limit is for the list, and --all settles"),
    (["--batch", "abcdef"], 'there is no batch "abcdef"'),
    (["--since", "1d", "--older-than", "2d"], "no call is sent since 1d and older than 2d"),
    (["--older-than", "soon"], '--older-than "soon" is no date'),
]


def test_misuse_is_told(installation: Mill) -> None:
    """What cannot be meant is refused, with what to do."""
    for arguments, said in MISUSES:
        assert said in installation.refused("budget", "reconcile", *arguments)


def test_standard_input_that_is_closed(installation: Mill) -> None:
    """It is told as what it is."""
    command = f"'{BATCHMILL}' budget reconcile - <&-"
    done = subprocess.run(
        ["bash", "-c", command], env=installation.environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, "error: there is no standard input" in done.stderr) == (1, True), done.stderr


def test_what_differs_is_named(own: Mill) -> None:
    """The audit shows every period; one nano-dollar too much is a difference, and the exit status says so."""
    clean = own.quickly("budget", "audit")
    assert (clean.returncode, len(clean.stdout.splitlines())) == (0, 3), clean.stdout
    assert "clean: 2 periods of budgets compared" in clean.stderr
    own.execute("UPDATE budget_periods SET spent_nanos = spent_nanos + 1 WHERE id = 2")
    done = own.quickly("budget", "audit")
    assert done.returncode == 1
    assert "differs: spent 0.000000001" in done.stdout
    assert "failure budgets: not so" in done.stdout
    shown = json.loads(own.quickly("budget", "audit", "--json").stdout)
    assert not shown["clean"]
    assert [row["spent"]["difference_usd"] for row in shown["periods"]] == ["0", "0.000000001"]


def test_without_any_budget_or_database(mill: Mill) -> None:
    """Nothing to show is no error, and nothing is made for it."""
    assert told(mill, "budget", "audit")["periods"] == []
    assert unknown(mill) == []
    assert not mill.home.exists()


def unknown_run(mill: Mill, folder: Path) -> dict[str, int]:
    """Lines of which half are billed without an answer, under a budget; the provider's bill, by request id."""
    lines = [chat_line(f"line-{n}", f"question {n}?", max_tokens=40) for n in range(20)]
    write_lines(folder / "in.jsonl", lines)
    with sandbox(folder, "--fault", "reset-after=0.5", "--seed", "3") as provider:
        mill.environ |= {"OPENAI_BASE_URL": provider.url}
        assert mill.quickly("budget", "set", "global", "--day", "1").returncode == 0
        mill("run", folder / "in.jsonl", "-o", folder / "out.jsonl", "--on-unknown", "fail", "--cache", "off")
        return {call["client_request_id"]: call["cost_nanos"] for call in provider.calls()}


def test_unknown_calls_are_settled_by_the_provider_s_bill(mill: Mill, tmp_path: Path) -> None:
    """The list names them as the provider saw them; with its bill as evidence ledger, budget and bill are one."""
    bill = unknown_run(mill, tmp_path)
    listed = json.loads(mill.quickly("budget", "reconcile", "--json").stdout)
    assert 0 < listed["unknown"] < 20
    assert {call["why"] for call in listed["calls"]} <= {"connection_reset", "disconnected"}
    names = [call["request_id"] for call in listed["calls"]]
    (budget,) = json.loads(mill.quickly("budget", "list", "--json").stdout)
    assert budget["unknown_usd"] == listed["charged_usd"] != "0"
    assert mill.quickly("budget", "audit").returncode == 0

    rows = "".join(f"{name},{bill[name] / 10**9:.9f}\n" for name in names)
    evidence = tmp_path / "evidence.csv"
    evidence.write_text("request_id,cost_usd\n" + rows, encoding="utf-8")
    tried = mill.quickly("budget", "reconcile", evidence, "--dry-run")
    assert f"{len(names)} calls would be settled at" in tried.stderr
    done = json.loads(mill.quickly("budget", "reconcile", evidence, "--json").stdout)
    assert (done["settled"], done["dry_run"]) == (len(names), False)
    (budget,) = json.loads(mill.quickly("budget", "list", "--json").stdout)
    assert budget["unknown_usd"] == "0"
    assert round(float(budget["spent_usd"]) * 10**9) == sum(bill.values())
    proof = json.loads(mill.quickly("budget", "audit", "--json").stdout)
    assert (proof["clean"], proof["periods"][0]["spent"]["difference_usd"]) == (True, "0")
    assert "nothing is unknown" in mill.quickly("budget", "reconcile").stderr
