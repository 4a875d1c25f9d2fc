"""batchmill budget reconcile and audit: what is unknown is settled by the provider's bill, and the books are proved."""

import json
from pathlib import Path

from tests.support.mill import Mill, chat_line, sandbox, write_lines


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


def test_a_difference_is_named_to_the_nano_dollar(mill: Mill, tmp_path: Path) -> None:
    """Somebody wrote to the database: the audit says where and by how much, and its exit status is 1."""
    unknown_run(mill, tmp_path)
    mill.execute("UPDATE budget_periods SET spent_nanos = spent_nanos + 1")
    audit = mill.quickly("budget", "audit")
    assert audit.returncode == 1
    assert "differs: spent 0.000000001" in audit.stdout
    assert (
        "what is spent and held on each budget is what the ledger and the calls in flight say" in audit.stdout
    )


def test_misuse_is_told_and_settles_nothing(mill: Mill, tmp_path: Path) -> None:
    """Contradictions, bad names, amounts and files; what is unknown stays so."""
    unknown_run(mill, tmp_path)
    before = mill.query("SELECT count(*) FROM attempts WHERE state = 'unknown'")
    bad = tmp_path / "bad.csv"
    bad.write_text("request_id,cost_usd\nx,1\nbatch_req_abc_1/1,$5\n", encoding="utf-8")
    for arguments, said in [
        (("--all",), "--all and --as go together"),
        (("--call", "x"), "--call and --cost go together"),
        ((bad, "--all", "--as", "free"), "EVIDENCE and --all exclude each other"),
        (("--call", "x", "--cost", "1"), '"x" is no name of a call'),
        (("--call", "batch_req_abc_1/1", "--cost", "-1"), "no cost; write US dollars as plain decimals"),
        (("--call", "batch_req_abc_1/1", "--cost", "1"), "there is no call batch_req_abc_1/1"),
        ((tmp_path / "none.csv",), "cannot be read"),
        ((bad,), "2 lines are no evidence; nothing was settled"),
        (("--batch", "batch_ffffff"), "there is no batch"),
    ]:
        assert said in mill.refused("budget", "reconcile", *arguments), arguments
    assert mill.query("SELECT count(*) FROM attempts WHERE state = 'unknown'") == before
