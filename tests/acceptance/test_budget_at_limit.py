"""What becomes of lines that a budget has no room for, by the installed command: rejected, or asked more cheaply."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support.mill import Mill, Sandbox, read_lines, sandbox
from tests.support.spending import COST_NANOS, MODEL, OUTPUT_USD_PER_MTOK, price_file, question_file

LINES = 20
CHEAPER = "gpt-4o-mini"
WHOLE_ANSWER = 60
"""Room for the 38 or 39 tokens that come: an answer that is cut off is kept for nobody."""
TEN_ANSWERS_USD = "0.114"
A_TENTH = str(OUTPUT_USD_PER_MTOK // 10)


@pytest.fixture
def output(mill: Mill, tmp_path: Path) -> Path:
    """Where answers go, in an installation that knows what the questions' model costs."""
    mill.environ["BATCHMILL_PRICES"] = str(price_file(tmp_path))
    return tmp_path / "out.jsonl"


def usd(calls: int) -> str:
    """What so many calls of the questions' model cost."""
    return f"{calls * COST_NANOS / 10**9:.4f}"


def asked(provider: Sandbox) -> Counter[str]:
    """How many calls the provider has seen, by model."""
    return Counter(call["model"] for call in provider.calls())


@pytest.mark.timeout(180)
def test_lines_without_room_are_rejected(mill: Mill, output: Path, tmp_path: Path) -> None:
    """What fits is answered; each of the others fails, with a code and a reason that says what helps."""
    path = question_file(tmp_path / "in.jsonl", LINES)
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        assert mill.quickly("budget", "set", "tenant", "local", "--total", usd(8)).returncode == 0
        done = mill("run", path, "-o", output, "--on-budget", "reject")
        assert asked(provider) == {MODEL: 8}
    assert done.returncode == 1
    failed = read_lines(output.with_suffix(".errors.jsonl"))
    assert len(read_lines(output)) == 8
    assert {line["error"]["code"] for line in failed} == {"budget_exceeded"}
    (reason,) = {line["error"]["message"] for line in failed}
    assert f"the budget of tenant local has ${usd(8)} of ${usd(8)} spent" in reason
    assert "`batchmill budget set tenant local --total USD` raises it" in reason
    answered_or_not = [line["custom_id"] for line in (*read_lines(output), *failed)]
    assert sorted(answered_or_not) == sorted(f"c{n}" for n in range(LINES))


@pytest.mark.timeout(180)
def test_a_cheaper_model_is_asked_from_half_of_the_limit_on(mill: Mill, output: Path, tmp_path: Path) -> None:
    """Every line is answered, and says by whom where that is another than it asked; nobody is given such an answer for
    the model's own later."""
    path = question_file(tmp_path / "in.jsonl", LINES, max_tokens=WHOLE_ANSWER)
    cheaper = ("--tier", "cheap", "--input-price", "0", "--output-price", A_TENTH)
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        assert mill.quickly("providers", "add", f"openai/{CHEAPER}", *cheaper).returncode == 0
        early = ("--on-limit", "downgrade", "--downgrade-at", "50")
        assert mill.quickly("budget", "set", "global", "--total", TEN_ANSWERS_USD, *early).returncode == 0
        assert mill.run(path, "-o", output, "--concurrency", "1")["completed"] == LINES
        assert asked(provider) == {MODEL: 5, CHEAPER: 15}
        assert mill.quickly("budget", "remove", "global").returncode == 0
        again = mill.run(path, "-o", tmp_path / "again.jsonl")
        assert (again["cached"], again["calls"]) == (5, 15)
        assert asked(provider) == {MODEL: 20, CHEAPER: 15}
    answers = read_lines(output)
    notes = [line.get("batchmill") for line in answers]
    assert notes == [None] * 5 + [{"asked_model": MODEL, "provider": "openai", "model": CHEAPER}] * 15
    assert {line["response"]["body"]["model"] for line in answers[5:]} == {CHEAPER}
    assert all("batchmill" not in line for line in read_lines(tmp_path / "again.jsonl"))
    tokens = sum(line["response"]["body"]["usage"]["completion_tokens"] for line in answers[5:])
    spent = mill.query(f"SELECT sum(cost_nanos) FROM ledger WHERE model = '{CHEAPER}'")
    assert spent == [(tokens * OUTPUT_USD_PER_MTOK * 100,)]
