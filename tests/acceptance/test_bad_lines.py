"""Bad input: every bad line is told with its number and OpenAI's code, and nothing of the file is taken in."""

import gzip
import json
from pathlib import Path

from tests.support.mill import Mill, assert_told, chat_line, sandbox, write_lines

NOWHERE = "http://127.0.0.1:9/v1"


def line(**changes: object) -> bytes:
    """A good line with some of its fields changed; None takes a field out."""
    request = json.loads(chat_line("x", "one")) | changes
    return json.dumps({name: value for name, value in request.items() if value is not None}).encode()


def body(**changes: object) -> bytes:
    """The same for fields of the body."""
    whole = json.loads(chat_line("x", "one"))["body"] | changes
    return line(body={name: value for name, value in whole.items() if value is not None})


BAD_LINES: list[tuple[bytes, str]] = [
    (b'{"custom_id": "x", ', "invalid_json_line"),
    (b'"just a string"', "invalid_json_line"),
    (b'{"custom_id": "\xff\xfe"}', "invalid_json_line: This line is not parseable as valid JSON. It is not UTF-8"),
    (b'{"body": ' + b"[" * 500 + b"]" * 500 + b"}", "invalid_json_line: This line is not parseable as valid JSON."),
    (b'{"body": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "invalid_json_line"),
    (body(seed=10**30), "invalid_value"),
    (body(messages=[{"role": "user", "content": "x" * 20_000_000}]), "invalid_request: This line is 20.0 MB"),
    (line(custom_id=None), "missing_required_parameter (custom_id)"),
    (line(custom_id=7), "invalid_type (custom_id)"),
    (line(method=None), "missing_required_parameter (method)"),
    (line(url=None), "missing_required_parameter (url)"),
    (line(url="/v1/embeddings"), "invalid_url (url)"),
    (line(url="/v1/nonsense"), "invalid_url (url)"),
    (line(body=None), "missing_required_parameter (body)"),
    (line(body=[]), "invalid_type (body)"),
    (body(model=None), "invalid_request (body.model): Model parameter is required."),
    (body(model=4), "invalid_type (body.model)"),
    (body(messages=None), "invalid_request (body.messages)"),
    (body(messages="hi"), "invalid_type (body.messages)"),
    (body(stream=True), "streaming_unsupported (body.stream)"),
    (line(custom_id="c0"), "duplicate_custom_id (custom_id): The custom_id 'c0' is already used by line 1."),
]  # fmt: skip


def test_every_kind_of_bad_line_in_one_file(mill: Mill, tmp_path: Path) -> None:
    """Each with its line number and code on standard error; no row is left, no call is made; corrected, it runs."""
    good = [chat_line(f"c{n}", f"question {n}").encode() for n in range(3)]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"\n".join([good[0], b"", *(bad for bad, _ in BAD_LINES), good[1], good[2]]))
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        for options in ((), ("--json",)):
            said = mill.refused("run", source, "-o", output, *options).splitlines()
            told = [one for one in said if one.startswith("line ")]
            for number, (_, expected) in enumerate(BAD_LINES, start=3):
                assert any(one.startswith(f"line {number}: {expected}") for one in told), (
                    number,
                    expected,
                    told,
                )
            assert f"error: {len(BAD_LINES)} lines are not valid; nothing was accepted" in said
            for table in ("requests", "inputs", "claims", "attempts"):
                assert mill.query(f"SELECT count(*) FROM {table}") == [(0,)], table
        assert mill.states() == {"failed": 2}
        assert witness.calls() == []
        assert not output.exists()
        assert mill.processes() == []
        source.write_bytes(b"\n".join(good))
        assert mill.run(source, "-o", output)["completed"] == 3


def test_repeated_custom_ids(mill: Mill, tmp_path: Path) -> None:
    """Every repetition is told, with the line that had the name first; also beyond the first chunk of rows."""
    names = [f"c{n}" for n in range(2_500)]
    names[9], names[2_400], names[2_401] = "c0", "c1", "c1"
    source = write_lines(tmp_path / "in.jsonl", [chat_line(name, "same") for name in names])
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    said = mill.refused("run", source, "-o", tmp_path / "out.jsonl")
    for number, name, first in ((10, "c0", 1), (2_401, "c1", 2), (2_402, "c1", 2)):
        assert (
            f"line {number}: duplicate_custom_id (custom_id): "
            f"The custom_id '{name}' is already used by line {first}." in said
        )
    assert "error: 3 lines are not valid" in said
    assert mill.query("SELECT count(*) FROM requests") == [(0,)]


def test_a_file_that_is_no_input(mill: Mill, tmp_path: Path) -> None:
    """Told what it is, and what to do with it."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    for content, expected in (
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n \r\n\t\n", "blank lines only"),
        (gzip.compress(b"{}"), "gunzip"),
        (chat_line("a", "one").encode("utf-16"), "UTF-16"),
        (b"[" + chat_line("a", "one").encode() + b"]", "jq -c"),
    ):
        (tmp_path / "in.jsonl").write_bytes(content)
        assert expected in mill.refused("run", "in.jsonl", "-o", "out.jsonl", "--json")


def test_an_input_that_cannot_be_read(mill: Mill, tmp_path: Path) -> None:
    """Missing, a folder, a pipe: named, with a hint, before a home is made."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    assert 'input file "nope.jsonl" does not exist' in mill.refused("run", "nope.jsonl", "-o", "out.jsonl")
    assert "is a directory" in mill.refused("run", tmp_path, "-o", "out.jsonl")
    assert "is a pipe or device" in mill.refused("run", "/dev/stdin", "-o", "out.jsonl")
    assert not mill.home.exists()


def test_an_output_that_cannot_be_written(mill: Mill, tmp_path: Path) -> None:
    """Refused before any work: a missing folder, a folder, a device, a stream, the input itself, one file for both."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "one")])
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    assert "mkdir -p" in mill.refused("run", source, "-o", "missing/out.jsonl")
    assert "is a directory" in mill.refused("run", source, "-o", tmp_path)
    assert "device" in mill.refused("run", source, "-o", "/dev/full")
    assert "stream" in mill.refused("run", source, "-o", "-")
    assert "is the input file" in mill.refused("run", source, "-o", "in.jsonl")
    assert "one file" in mill.refused("run", source, "-o", "out.jsonl", "--errors", "./out.jsonl")
    assert "cannot be written" in mill.refused("run", source, "-o", "/proc/out.jsonl")
    assert not mill.home.exists()


def test_misuse(mill: Mill, tmp_path: Path) -> None:
    """Options that make no sense: exit 2 and the way to the help."""
    for arguments in (
        ("run",),
        ("run", "in.jsonl"),
        ("run", "in.jsonl", "-o", "out.jsonl", "--workers", "0"),
        ("run", "in.jsonl", "-o", "out.jsonl", "--cache", "maybe"),
        ("run", "in.jsonl", "-o", "out.jsonl", "--concurrency", "many"),
    ):
        done = mill.quickly(*arguments)
        assert done.returncode == 2
        assert_told(done.stderr)
        assert "batchmill run --help" in done.stderr
