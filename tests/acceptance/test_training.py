"""Good answers become training data: marked, exported by the vendors' rules, without what is somebody's."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_gsm8k import REPLIES, REQUESTS
from tests.support.forked import run_forked
from tests.support.mill import Mill, chat_line, read_lines, sandbox, write_lines

PLANTED = (
    "anna.meier@example.de",
    "+49 30 901820",
    "(212) 555-0143",
    "4111 1111 1111 1111",
    "378282246310005",
    "DE89 3704 0044 0532 0130 00",
    "GB82WEST12345698765432",
    "8.8.4.4",
    "536-90-4399",
    "sk-proj-abcdefghijklmnopqrstuv",
)
FORMATS = ("openai", "gemini", "messages", "completion")


def hashes(folder: Path) -> dict[str, str]:
    """Every file of an export, by its content."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def plant(tmp_path: Path) -> tuple[Path, Path, list[bool]]:
    """The recorded requests and replies, in every tenth of them something of somebody's; and which are right."""
    requests, replies = read_lines(REQUESTS), read_lines(REPLIES)
    for nth, (asked, reply) in enumerate(zip(requests, replies, strict=True)):
        if nth % 10 == 0:
            one, other = PLANTED[nth // 10 % len(PLANTED)], PLANTED[(nth // 10 + 3) % len(PLANTED)]
            message = asked["body"]["messages"][-1]
            message["content"] = reply["question"] = f"{message['content']} Write to {one} about it."
            reply["reply"] = f"{reply['reply']}\nI wrote to {one}, and to {other}."
    paths = tmp_path / "requests.jsonl", tmp_path / "replies.jsonl"
    for path, lines in zip(paths, (requests, replies), strict=True):
        write_lines(path, [json.dumps(line) for line in lines])
    return *paths, [reply["is_correct"] for reply in replies]


@pytest.mark.skipif(not REQUESTS.exists(), reason="the GSM8K data is not beside this checkout")
def test_gsm8k_answers_that_are_right(mill: Mill, tmp_path: Path) -> None:
    """Verified by the recorded `is_correct`: valid in every format, planted data gone, repeated byte for byte."""
    requests, replies, is_correct = plant(tmp_path)
    with sandbox(tmp_path, "--replies", str(replies)) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        mill.run(requests, "-o", tmp_path / "out.jsonl")
    names = [line["custom_id"] for line in read_lines(requests)]
    said = zip(names, is_correct, strict=True)
    marks = write_lines(
        tmp_path / "marks.jsonl", [json.dumps({"custom_id": name, "verified": ok}) for name, ok in said]
    )
    marked = mill.quickly("training", "mark", marks, "--batch", "latest", "--json")
    assert json.loads(marked.stdout) == {"named": 1319, "changed": 1319, "removed": False}, marked.stderr
    for format_ in FORMATS:
        folder = tmp_path / format_
        done = mill.quickly("training", "export", "-o", folder, "--format", format_, "--verified-only", "--json")
        assert done.returncode == 0, done.stderr
        manifest = json.loads(done.stdout)
        counts, left_out = manifest["counts"], manifest["left_out"]
        assert counts["marked_answers"] == sum(is_correct)
        assert counts["examples"] == sum(is_correct) - sum(one["count"] for one in left_out.values())
        assert set(left_out) <= {"near_duplicate"}
        text = "".join(path.read_text() for path in folder.iterdir())
        assert not [planted for planted in PLANTED if planted in text or planted.replace(" ", "") in text]
        assert sum(manifest["redaction"]["replaced"].values()) >= 3 * sum(is_correct[::10]) - 10
        for name in ("train", "validation"):
            options = ("--validation",) if name == "validation" else ()
            checked = mill.quickly("training", "validate", folder / f"{name}.jsonl", "--format", format_, *options)
            assert checked.returncode == 0, checked.stdout
    mill.environ["PYTHONHASHSEED"] = "77"
    again = mill("training", "export", "-o", tmp_path / "again", "--format", "openai", "--verified-only")
    assert again.returncode == 0, again.stderr
    assert hashes(tmp_path / "again") == hashes(tmp_path / "openai")
