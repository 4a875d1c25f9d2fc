"""Two commands on one home: they share the broker and the answers, and stay out of each other's way."""

import os
import signal
from collections import Counter
from pathlib import Path

from tests.support.mill import Mill, chat_line, read_lines, sandbox, wait_until, write_lines


def test_the_same_questions_at_once(mill: Mill, tmp_path: Path) -> None:
    """Each question is asked once for both; the second goes on with its own broker when the first ends first."""
    shared = [chat_line(f"c{n}", f"question {n}") for n in range(100)]
    more = [chat_line(f"d{n}", f"another question {n}") for n in range(24)]
    first_in = write_lines(tmp_path / "first.jsonl", shared)
    second_in = write_lines(tmp_path / "second.jsonl", shared + more)
    with sandbox(tmp_path, "--latency", "0.8") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        options = ("--concurrency", "8")
        first = mill.start("run", first_in, "-o", tmp_path / "first.out", *options)
        wait_until(lambda: len(witness.calls()) >= 4, 30)
        broker = mill.brokers()
        second = mill.start("run", second_in, "-o", tmp_path / "second.out", *options)
        wait_until(lambda: len(mill.worker_parents()) == 2, 30)
        assert mill.brokers() == broker != []
        for run in (first, second):
            _, said = run.communicate(timeout=60)
            assert run.returncode == 0, said + mill.worker_log()
        asked = Counter(call["prompt_sha256"] for call in witness.calls())
        assert (len(asked), max(asked.values())) == (124, 1)
    assert len(read_lines(tmp_path / "first.out")) == 100
    assert len(read_lines(tmp_path / "second.out")) == 124
    assert mill.processes() == []


def test_the_other_command_is_killed_while_its_answers_are_waited_for(mill: Mill, tmp_path: Path) -> None:
    """Whoever waits for an answer that a killed command was to bring asks for itself, without waiting for a lease."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(24)])
    with sandbox(tmp_path, "--latency", "1.5") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        first = mill.start("run", source, "-o", tmp_path / "first.out", "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 4, 30)
        theirs = set(mill.processes())
        second = mill.start("run", source, "-o", tmp_path / "second.out", "--concurrency", "24")
        wait_until(lambda: mill.query("SELECT count(*) FROM requests WHERE state = 'waiting'") >= [(4,)], 30)
        for pid in theirs:
            os.kill(pid, signal.SIGKILL)
        first.communicate()
        _, said = second.communicate(timeout=30)
        assert second.returncode == 0, said + mill.worker_log()
        assert len(read_lines(tmp_path / "second.out")) == 24
        again = mill.run(source, "-o", tmp_path / "first.out")
        assert (again["completed"], again["total"]) == (24, 24)
    assert mill.processes() == []


def test_one_output_is_one_command_s(mill: Mill, tmp_path: Path) -> None:
    """A second command for the same output is refused while the first is at it, and after it was interrupted as
    well when its input or options differ; --fresh starts over, and then the old batch is none any more."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(200)])
    other = write_lines(tmp_path / "other.jsonl", [chat_line("o", "something else")])
    output = tmp_path / "out.jsonl"
    command = ("run", source, "-o", output, "--concurrency", "4")
    with sandbox(tmp_path, "--latency", "0.8") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        first = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 4, 30)
        assert "another command is writing" in mill.refused(*command)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=30)
        for different in (("run", other, "-o", output), (*command, "--cache", "off")):
            said = mill.refused(*different)
            assert "an unfinished batch of another input, other options" in said
            assert "--fresh" in said
        called = len(witness.calls())
        report = mill.run(other, "-o", output, "--fresh", "--workers", "1")
        assert (report["total"], len(witness.calls())) == (1, called + 1)
        assert [line["custom_id"] for line in read_lines(output)] == ["o"]
        assert mill.states() == {"cancelled": 1, "completed": 1}
    assert mill.processes() == []


def test_another_provider_is_another_question(mill: Mill, tmp_path: Path) -> None:
    """What one server said never stands for what another would say."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line("c0", "Is this a model?")])
    with sandbox(tmp_path) as first:
        mill.environ["OPENAI_BASE_URL"] = first.url
        assert mill.run(source, "-o", tmp_path / "first.jsonl")["calls"] == 1
    (tmp_path / "other").mkdir()
    with sandbox(tmp_path / "other") as second:
        mill.environ["OPENAI_BASE_URL"] = second.url
        assert mill.run(source, "-o", tmp_path / "second.jsonl")["calls"] == 1
        assert len(second.calls()) == 1
