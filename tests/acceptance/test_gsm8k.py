"""Real questions, real recorded answers: 1,319 problems of GSM8K, when the data lies beside the checkout."""

import json
from pathlib import Path

import pytest

from tests.support.mill import Mill, read_lines, sandbox

DATA = Path(__file__).parents[3] / "shared" / "data"
REQUESTS = DATA / "gsm8k_requests.jsonl"
REPLIES = DATA / "gsm8k_replies.jsonl"

pytestmark = pytest.mark.skipif(not REQUESTS.exists(), reason="the GSM8K data is not beside this checkout")


def test_each_question_gets_its_own_answer_and_is_paid_for_once(mill: Mill, tmp_path: Path) -> None:
    """1,319 lines in input order, each the recorded answer for its id; run again: all hits, no call, no cost."""
    asked = read_lines(REQUESTS)
    replies = {reply["question"]: reply["reply"] for reply in read_lines(REPLIES)}
    with sandbox(tmp_path, "--replies", str(REPLIES)) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        first = mill.run(REQUESTS, "-o", tmp_path / "first.jsonl")
        calls = len(witness.calls())
        second = mill.run(REQUESTS, "-o", tmp_path / "second.jsonl")
        assert len(witness.calls()) == calls == 1319
        billed = sum(call["cost_nanos"] for call in witness.calls())
    answers = read_lines(tmp_path / "first.jsonl")
    assert [answer["custom_id"] for answer in answers] == [line["custom_id"] for line in asked]
    for line, answer in zip(asked, answers, strict=True):
        question = line["body"]["messages"][-1]["content"]
        assert answer["response"]["body"]["choices"][0]["message"]["content"] == replies[question]
    assert (first["completed"], first["cached"], first["calls"]) == (1319, 0, 1319)
    assert round(float(first["cost_usd"]) * 1e9) == billed
    assert (second["completed"], second["cached"], second["calls"], second["cost_usd"]) == (
        1319,
        1319,
        0,
        "0",
    )
    bodies = [json.dumps(answer["response"]["body"]) for answer in answers]
    again = [json.dumps(answer["response"]["body"]) for answer in read_lines(tmp_path / "second.jsonl")]
    assert again == bodies
