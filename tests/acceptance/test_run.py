"""`batchmill run` when all goes well, and when some lines fail: what comes out, in which order, at what cost."""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mill import Mill, chat_line, read_lines, sandbox, write_lines

REPORT = [
    *("batch_id", "total", "completed", "failed", "expired", "cached", "calls", "unknown_attempts"),
    *("cost_usd", "elapsed_s", "output", "errors"),
]


def test_bom_crlf_and_blank_lines_are_accepted(mill: Mill, tmp_path: Path) -> None:
    """A file as Windows writes it: every line answered, and the report holds what the README promises."""
    source = tmp_path / "in.jsonl"
    text = "\r\n".join(["", chat_line("a", "one"), "", "   ", chat_line("b", "two")])
    source.write_bytes(b"\xef\xbb\xbf" + text.encode())
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        report = mill.run(source, "-o", tmp_path / "out.jsonl")
    assert list(report) == REPORT
    assert (report["total"], report["completed"], report["failed"], report["errors"]) == (2, 2, 0, None)
    assert report["output"] == str(tmp_path / "out.jsonl")
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == ["a", "b"]
    assert mill.processes() == []


def test_each_distinct_question_is_asked_once(mill: Mill, tmp_path: Path) -> None:
    """1,000 lines of 100 questions: 100 calls. Again: none, $0. Cache off: all paid for. Refresh: 100 once more."""
    lines = [chat_line(f"c{n}", f"question {n % 100}") for n in range(1_000)]
    source, output = write_lines(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        seen = [0]

        def run(*options: str) -> tuple[int, dict[str, object]]:
            report = mill.run(source, "-o", output, *options)
            seen.append(len(witness.calls()))
            return seen[-1] - seen[-2], report

        called, first = run()
        assert (called, first["calls"], first["cached"]) == (100, 100, 900)
        assert [line["custom_id"] for line in read_lines(output)] == [f"c{n}" for n in range(1_000)]
        called, again = run()
        assert (called, again["calls"], again["cached"], float(str(again["cost_usd"]))) == (0, 0, 1_000, 0.0)
        assert again["batch_id"] != first["batch_id"]
        called, paid = run("--cache", "off")
        assert (called, paid["calls"], paid["cached"]) == (1_000, 1_000, 0)
        called, fresh = run("--cache", "refresh", "--priority", "high")
        assert (called, fresh["calls"], fresh["cached"]) == (100, 100, 900)


def test_failed_lines_go_to_the_errors_file(mill: Mill, tmp_path: Path) -> None:
    """Exit 1; answers and errors each in input order, in OpenAI's shape; what may pass is tried again."""
    models = [
        *("gpt-4o-mini", "sandbox/400", "sandbox/500", "sandbox/flaky-2", "sandbox/too-large"),
        *("sandbox/malformed", "sandbox/length", "sandbox/200-error", "sandbox/reset", "gpt-4o-mini"),
    ]
    lines = [chat_line(f"c{n}", f"question {n}", model=model) for n, model in enumerate(models)]
    source, output = write_lines(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    mill.environ |= {"BATCHMILL_BACKOFF_BASE_S": "0.02", "BATCHMILL_MAX_TRIES": "3"}
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = mill("run", source, "-o", output, "--json")
        calls = Counter(call["model"] for call in witness.calls())
        assert done.returncode == 1
        report = json.loads(done.stdout)
        assert (report["completed"], report["failed"]) == (4, 6)
        assert report["errors"] == str(tmp_path / "out.errors.jsonl")
        answered, failed = read_lines(output), read_lines(tmp_path / "out.errors.jsonl")
        assert [line["custom_id"] for line in answered] == ["c0", "c3", "c6", "c9"]
        assert all(line["response"]["status_code"] == 200 and line["error"] is None for line in answered)
        assert [line["custom_id"] for line in failed] == ["c1", "c2", "c4", "c5", "c7", "c8"]
        by_id = {line["custom_id"]: line for line in failed}
        for custom_id, status in (("c1", 400), ("c2", 500), ("c4", 429)):
            assert by_id[custom_id]["error"] is None
            assert by_id[custom_id]["response"]["status_code"] == status
            assert by_id[custom_id]["response"]["body"]["error"]["message"]
        for custom_id in ("c5", "c7", "c8"):
            assert by_id[custom_id]["response"] is None
            assert by_id[custom_id]["error"].keys() == {"code", "message"}
        assert calls["sandbox/400"] == calls["sandbox/too-large"] == 1
        assert calls["sandbox/500"] == calls["sandbox/malformed"] == calls["sandbox/reset"] == 3
        assert calls["sandbox/flaky-2"] == 3
        # Cut off and failed answers are no answers for others; the refusal is remembered for minutes.
        again = mill("run", source, "-o", output)
        more = Counter(call["model"] for call in witness.calls()) - calls
        assert again.returncode == 1
        assert "6 failed: out.errors.jsonl" in again.stderr
        assert more["sandbox/length"] == 1
        assert more["gpt-4o-mini"] == more["sandbox/flaky-2"] == more["sandbox/400"] == 0


def test_a_cut_off_call_need_not_be_made_again(mill: Mill, tmp_path: Path) -> None:
    """With `--on-unknown fail` a call that may have been billed without an answer is the last of its line."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "one", model="sandbox/reset")])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = mill("run", source, "-o", tmp_path / "out.jsonl", "--on-unknown", "fail", "--json")
        assert done.returncode == 1
        report = json.loads(done.stdout)
        assert (report["failed"], report["unknown_attempts"], len(witness.calls())) == (1, 1, 1)
    assert read_lines(tmp_path / "out.jsonl") == []


@pytest.mark.parametrize(
    ("options", "most"), [(("--concurrency", "1"), 1), (("--workers", "2", "--concurrency", "5"), 5)]
)
def test_size_of_the_crew(mill: Mill, tmp_path: Path, options: tuple[str, ...], most: int) -> None:
    """One call at a time, or two processes: each line is answered once, and no more calls are in flight than asked."""
    lines = [chat_line(f"c{n}", f"question {n}") for n in range(20)]
    source = write_lines(tmp_path / "in.jsonl", lines)
    with sandbox(tmp_path, "--latency", "0.05") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        report = mill.run(source, "-o", tmp_path / "out.jsonl", *options)
        assert len(witness.calls()) == report["calls"] == 20
    spans = mill.query("SELECT sent_ms, ended_ms FROM attempts")
    # Written down before it is sent and after it has come: one millisecond may be both one's end and another's start.
    assert max(sum(sent < begun < ended for sent, ended in spans) for begun, _ in spans) < most


def test_odd_names(make_mill: Callable[[Path], Mill], tmp_path: Path) -> None:
    """Spaces, quotes, percent signs, other alphabets and line breaks in names, and a home too deep for a socket."""
    folder = tmp_path / "Ordner mit Ümläuten & 100% 'quotes' #1" / ("d" * 120)
    folder.mkdir(parents=True)
    mill = make_mill(folder)
    source = write_lines(folder / "質問 .jsonl", [chat_line("a", "one")])
    output = folder / "ant\nworten;$(x) 🙂"
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        report = mill.run(source, "-o", output)
        assert report["output"] == str(output)
        assert len(read_lines(output)) == 1
    assert mill.processes() == []
    digest = hashlib.sha256(os.fsencode(mill.home)).hexdigest()[:12]
    assert not (Path(tempfile.gettempdir()) / f"batchmill-{os.getuid()}-{digest}").exists()


def test_home_with_a_space_and_a_short_name(make_mill: Callable[[Path], Mill], tmp_path: Path) -> None:
    """Such a home takes the broker's socket itself."""
    folder = tmp_path / "ä b%20"
    folder.mkdir()
    mill = make_mill(folder)
    source = write_lines(folder / "in.jsonl", [chat_line("a", "one")])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        assert mill.run(source, "-o", folder / "out.jsonl")["completed"] == 1


def test_two_spellings_of_one_output(mill: Mill, tmp_path: Path) -> None:
    """A path through `..` or a symbolic link is the same output; the link stays a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "one")])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        report = mill.run(source, "-o", tmp_path / "link" / ".." / "link" / "out.jsonl")
    assert report["output"] == str(tmp_path / "real" / "out.jsonl")
    assert mill.query("SELECT output_path FROM batches") == [(report["output"],)]
