"""Every way in, through the installed command: plain lines, tables, standard input; good and bad.

The examples in the docs, which run too (`test_docs.py`), are the other half of the good.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.mill import (
    BATCHMILL,
    PATIENCE_S,
    Mill,
    assert_told,
    chat_line,
    read_lines,
    sandbox,
    wait_until,
    write_lines,
)

NOWHERE = "http://127.0.0.1:9/v1"


def asked(mill: Mill) -> dict[str, Any]:
    """The bodies that were taken in, by custom_id."""
    return {
        name: json.loads(body)
        for name, body in mill.query("SELECT custom_id, body FROM inputs ORDER BY request_id")
    }


def test_plain_lines_from_a_file(mill: Mill, tmp_path: Path) -> None:
    """Prompt, system prompt, context, options; a line's type goes before the batch's; names reach the books."""
    source = write_lines(
        tmp_path / "in.jsonl",
        [
            json.dumps({"id": "a", "prompt": "Allowed?", "system_prompt": "One word.", "type": "moderation"}),
            json.dumps({"id": 2, "prompt": "And this?", "context": "A text.", "options": {"temperature": 0}}),
        ],
    )
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        report = mill.run(
            source, "-o", "out.jsonl", "--model", "gpt-4o-mini", "--type", "news", "--job-name", "nightly",
            "--tenant", "acme", "--user", "ann", "--agent", "importer", "--deadline", "1h",
        )  # fmt: skip
    assert (report["completed"], report["failed"], report["expired"]) == (2, 0, 0)
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == ["a", "2"]
    assert asked(mill) == {
        "a": {
            "model": "gpt-4o-mini",
            "messages": [{"role": "system", "content": "One word."}, {"role": "user", "content": "Allowed?"}],
        },
        "2": {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "A text.\n\nAnd this?"}],
            "temperature": 0,
        },
    }
    named = mill.query("SELECT job_name, request_type, tenant, user_id, agent FROM batches")
    assert named == [("nightly", "news", "acme", "ann", "importer")]
    assert mill.query("SELECT deadline_ms - created_ms BETWEEN 3500000 AND 3600000 FROM batches") == [(1,)]
    assert mill.query("SELECT request_type, tenant FROM ledger ORDER BY request_id") == [
        ("moderation", "acme"),
        ("news", "acme"),
    ]


def test_a_table_from_standard_input_killed_and_gone_on_with(mill: Mill, tmp_path: Path) -> None:
    """A CSV with a template, piped in; kill -9 half-way, the same command with the same bytes goes on; nothing of the
    input is left under the home."""
    rows = "".join(f'{n},"Text {n}, with ""quotes""\nand a second line"\n' for n in range(40))
    table = "\ufeffnumber,text\n" + rows
    command = ["run", "-", "-o", "out.jsonl", "--model", "gpt-4o-mini", "--prompt", "Summarise {{{text}}}"]
    command += ["--id-column", "number", "--cache", "off", "--concurrency", "4"]
    with sandbox(tmp_path, "--latency", "0.3") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        process = subprocess.Popen(
            [BATCHMILL, *command],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=mill.environment(),
            cwd=mill.folder,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(table.encode())
        process.stdin.close()
        wait_until(lambda: len(witness.calls()) >= 8, PATIENCE_S)
        mill.kill_everything()
        process.wait(10)
        assert not list((mill.home / "run").glob("input-*"))
        other = mill(*command, stdin=table + "40,x\n")
        assert other.returncode == 1
        assert "is owed the results of" in other.stderr
        done = mill(*command, "--json", stdin=table)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["completed"] == 40
    assert mill.states() == {"completed": 1}
    answers = read_lines(tmp_path / "out.jsonl")
    assert [answer["custom_id"] for answer in answers] == [str(n) for n in range(40)]
    content = asked(mill)["7"]["messages"][0]["content"]
    assert content == 'Summarise {Text 7, with "quotes"\nand a second line}'
    assert not list((mill.home / "run").glob("input-*"))


def test_bad_input_is_told_and_nothing_is_accepted(mill: Mill, tmp_path: Path) -> None:
    """Every bad line with its number, in each format; repeated ids too; no batch is left, no call is made."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    lines = ['{"id": "a", "prompt": "Hi"}', '{"id": "a", "prompt": "Ho"}', '{"id": "c", "promt": "Hi"}', ""]
    write_lines(tmp_path / "in.jsonl", [*lines, '{"id": "d", "prompt": "Hi", "options": {"stream": true}}'])
    told = mill.refused("run", "in.jsonl", "-o", "out.jsonl", "--model", "m").splitlines()
    for expected in (
        "line 2: duplicate_custom_id",
        "line 3: missing_required_parameter (prompt)",
        "line 3: unknown_parameter (promt): Unknown parameter: 'promt'. A line may have: id, prompt,",
        "line 5: invalid_value (options.stream)",
        "error: 3 lines are not valid; nothing was accepted",
    ):
        assert any(line.startswith(expected) for line in told), (expected, told)
    (tmp_path / "in.csv").write_bytes(b'id,text\n1,ok\n2,too,many\n1,again\n3,"never closed\n')
    told = mill.refused("run", "in.csv", "-o", "out.jsonl", "--model", "m", "--prompt", "{text}").splitlines()
    for expected in (
        "line 3: invalid_csv_row: The row has 3 values, the header 2.",
        "line 4: duplicate_custom_id",
        "line 5: invalid_csv_row: This row is not valid CSV: a quote that is opened here is never closed",
        "error: 3 lines are not valid; nothing was accepted",
    ):
        assert any(line.startswith(expected) for line in told), (expected, told)
    assert set(mill.states()) == {"failed"}
    assert mill.query("SELECT count(*) FROM inputs") == [(0,)]
    assert not list(tmp_path.glob("out*"))


def test_misuse_is_told_before_anything_is_done(mill: Mill, tmp_path: Path) -> None:
    """Options that do not go together or cannot be understood: exit 2, what it is, what to do."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    (tmp_path / "in.csv").write_bytes(b"id,text\n1,Hi\n")
    write_lines(tmp_path / "in.jsonl", [chat_line("a", "Hi")])
    table = ("run", "in.csv", "-o", "out.jsonl")
    model = ("--model", "m")
    for arguments, said in (
        ((*table, "--prompt-column", "text"), "nothing says which model to ask"),
        (
            (*table, "--prompt", "{txet}", *model),
            "the input has no column 'txet'\nhint: its columns: id, text",
        ),
        ((*table, "--prompt-column", "text", *model, "--deadline", "soon"), "'soon' is no time"),
        ((*table, "--prompt-column", "text", *model, "--deadline", "2020-01-01T00:00Z"), "is in the past"),
        ((*table, "--prompt-column", "text", *model, "--job-name", "a\nb"), "not one line"),
        (("run", "in.jsonl", "-o", "out.jsonl", "--prompt", "{a}"), "not for input in OpenAI's format"),
    ):
        done = mill.quickly(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert_told(done.stderr)
        assert said in done.stderr, (arguments, done.stderr)
    assert mill.states() == {}  # the database is made when a deadline is looked at
    empty = mill("run", "-", "-o", "out.jsonl", stdin="")
    assert (empty.returncode, "error: standard input is empty" in empty.stderr) == (1, True)
    assert not list(tmp_path.glob("out*"))
    assert mill.processes() == []


def test_a_deadline_ends_the_run(mill: Mill, tmp_path: Path) -> None:
    """Lines not asked by then go to the errors file, the others to the output; exit 1, and why."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"Question {n}") for n in range(40)])
    with sandbox(tmp_path, "--latency", "0.5") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = mill("run", source, "-o", "out.jsonl", "--concurrency", "2", "--deadline", "5s")
        assert done.returncode == 1, done.stderr
        calls = len(witness.calls())
    answered, failed = read_lines(tmp_path / "out.jsonl"), read_lines(tmp_path / "out.errors.jsonl")
    assert len(answered) + len(failed) == 40
    assert len(answered) <= calls < 40
    expired = [line for line in failed if line["error"] and line["error"]["code"] == "batch_expired"]
    assert len(expired) >= 40 - calls
    assert f"the deadline has passed: {len(expired)} line" in done.stderr
    assert mill.states() == {"expired": 1}
    assert mill.processes() == []


def test_a_run_that_goes_on_keeps_its_first_deadline(mill: Mill, tmp_path: Path) -> None:
    """The same command says another moment by then: it is the same run, with the deadline it began with. Once that has
    passed, going on delivers what there is."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"Question {n}") for n in range(20)])
    run = ("run", source, "-o", "out.jsonl", "--concurrency", "1")
    with sandbox(tmp_path, "--latency", "1") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        mill.start(*run, "--deadline", "1h")
        wait_until(lambda: len(witness.calls()) >= 2, PATIENCE_S)
        mill.kill_everything()
        (first,) = mill.query("SELECT deadline_ms FROM batches")
        process = mill.start(
            *run, "--deadline", "2020-01-01T00:00Z"
        )  # in the past by now, as any moment will be
        wait_until(lambda: len(witness.calls()) >= 4, PATIENCE_S)
        mill.kill_everything()
        process.wait(10)
        assert mill.query("SELECT deadline_ms FROM batches") == [first]
        mill.execute("UPDATE batches SET deadline_ms = 1000")
        done = mill(*run, "--deadline", "1h")
    assert done.returncode == 1, done.stderr
    assert "the deadline has passed: " in done.stderr
    assert mill.states() == {"expired": 1}
    assert len(read_lines(tmp_path / "out.jsonl")) + len(read_lines(tmp_path / "out.errors.jsonl")) == 20
