"""Good answers become training data: marked, exported by the vendors' rules, without what is somebody's."""

import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy import update

from batchmill.training.model import Format
from batchmill.training.validate import Checked, bad_lines
from db import schema
from db.engine import Database
from db.tables import inputs
from tests.acceptance.test_gsm8k import REPLIES, REQUESTS
from tests.support.hands import Worker, add_batch
from tests.support.mill import Mill, read_lines, sandbox, write_lines
from tests.support.replies import ANSWERED

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
FORMATS = ("openai", "gemini")
LINES = 400
"""All 1,319 take three times as long, and show no more."""


def hashes(folder: Path) -> dict[str, str]:
    """Every file of an export, by its content."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def plant(tmp_path: Path) -> tuple[Path, Path, list[bool]]:
    """The recorded requests and replies, in every tenth of them something of somebody's; and which are right."""
    requests, replies = read_lines(REQUESTS)[:LINES], read_lines(REPLIES)[:LINES]
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
    assert json.loads(marked.stdout) == {"named": LINES, "changed": LINES, "removed": False}, marked.stderr
    for format_ in FORMATS:
        folder = tmp_path / format_
        done = mill.quickly(
            "training", "export", "-o", folder, "--format", format_, "--verified-only", "--json"
        )
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
            checked = Checked()
            path = folder / f"{name}.jsonl"
            assert not list(bad_lines(path, Format(format_), checked, is_validation=name == "validation"))
            assert checked.lines == counts[name]
    mill.environ["PYTHONHASHSEED"] = "77"
    again = mill("training", "export", "-o", tmp_path / "again", "--format", "openai", "--verified-only")
    assert again.returncode == 0, again.stderr
    assert hashes(tmp_path / "again") == hashes(tmp_path / "openai")


def answer_some(mill: Mill) -> None:
    """A batch of twelve questions in the mill's database, answered."""
    mill.home.mkdir()
    database = Database(f"sqlite:///{mill.home}/batchmill.db")
    schema.upgrade(database)
    worker = Worker(database)
    add_batch(database, [f"key-{nth}" for nth in range(12)])
    worker.answer(ANSWERED, *worker.take())
    asked = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "2 + 2?"}]})
    with database.write() as tx:
        tx.run(update(inputs).values(body=asked))
    database.close()


def test_marked_listed_exported_checked(mill: Mill, tmp_path: Path) -> None:
    """From one good answer to a file; what cannot be done is told, and leaves nothing."""
    answer_some(mill)
    one = ("training", "mark", "--batch", "latest", "--custom-id", "line-3")
    assert mill.quickly(*one, "--rating", "5", "--tag", "sums", "--by", "ana").returncode == 0
    (shown,) = json.loads(mill.quickly("training", "list", "--tag", "sums", "--json").stdout)["marks"]
    assert (shown["custom_id"], shown["rating"], shown["verified"], shown["by"]) == (
        "line-3",
        5,
        False,
        "ana",
    )
    bad = write_lines(tmp_path / "bad.csv", ["custom_id,rating", "line-1,5", "line-99,5", "line-2,nine"])
    told = mill.refused("training", "mark", bad, "--batch", "latest")
    assert "line 3" in told
    assert "line 4" in told
    assert mill.query("SELECT count(*) FROM marks") == [(1,)]
    folder = tmp_path / "set"
    done = mill.quickly("training", "export", "-o", folder, "--split", "1/0")
    assert "1 example of 1 marked answer" in done.stderr
    assert "at least 10 are wanted" in done.stderr
    checked = mill.quickly("training", "validate", folder / "train.jsonl")
    assert (checked.returncode, checked.stdout) == (1, "the file: it has 1 example, at least 10 are wanted\n")
    assert "is no export" in mill.refused("training", "export", "-o", tmp_path)
    assert mill.quickly(*one, "--remove").returncode == 0
    assert "no answer is marked" in mill.quickly("training", "list").stderr
