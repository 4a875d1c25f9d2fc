"""Result files: the lines' shape, and files that appear whole or not at all."""

import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from batchmill.errors import MisuseError, OutputError
from batchmill.results.files import ResultFiles, check_writable, default_errors_path
from batchmill.results.lines import error_line, note_of, output_line
from batchmill.routing.names import AUTO_TARGET, Target

LINE = b'{"custom_id":"a"}\n'


@pytest.fixture
def paths(tmp_path) -> SimpleNamespace:
    """Where the files go: `folder`, `output` and `errors` in it."""
    output = tmp_path / "answers.jsonl"
    return SimpleNamespace(folder=tmp_path, output=output, errors=default_errors_path(output))


def test_an_output_line_has_openais_shape_and_the_answer_untouched():
    """The answer's bytes are spliced in: number formats, key order and escapes stay the provider's."""
    body = b'{"b":1.50,"a":"\\u00e9","n":12345678901234567890123}'
    line = output_line(
        batch_request_id="batch_req_1",
        custom_id='r"2',
        status_code=200,
        provider_request_id="req_1",
        body=body,
    )
    assert line == (
        b'{"id":"batch_req_1","custom_id":"r\\"2","response":{"status_code":200,"request_id":"req_1","body":'
        + body
        + b'},"error":null}\n'
    )


def test_an_answer_on_several_lines_becomes_one():
    """Providers print JSON over several lines; a line of ours stays one, and says the same."""
    body = orjson.dumps({"a": ["x\r\ny", 1]}, option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n")
    line = output_line(
        batch_request_id="batch_req_1", custom_id="a", status_code=200, provider_request_id="", body=body
    )
    assert line.count(b"\n") == 1
    assert orjson.loads(line)["response"]["body"] == {"a": ["x\r\ny", 1]}


ASKED = Target(provider="openai", model="gpt-4o")


@pytest.mark.parametrize(
    ("asked", "answered", "note"),
    [
        (ASKED, ASKED, None),
        (ASKED, Target(provider="", model="gpt-4o"), None),
        (
            ASKED,
            Target(provider="local", model="gpt-4o"),
            {"asked_model": "gpt-4o", "provider": "local", "model": "gpt-4o"},
        ),
        (AUTO_TARGET, ASKED, {"asked_model": "auto", "provider": "openai", "model": "gpt-4o"}),
    ],
)
def test_another_model_than_asked_for_is_noted(asked, answered, note):
    """Whoever has answered in its place, be it one of the same name elsewhere; what it asks for itself is no news."""
    assert note_of(asked=asked, answered=answered) == note
    line = orjson.loads(
        output_line(
            batch_request_id="batch_req_1",
            custom_id="a",
            status_code=200,
            provider_request_id="",
            body=b"{}",
            note=note_of(asked=asked, answered=answered),
        )
    )
    assert line.get("batchmill") == note
    assert list(line)[:4] == ["id", "custom_id", "response", "error"]


@pytest.mark.parametrize("status_code", [None, 404])
def test_a_failure_tells_whose_it_is(status_code):
    """The note stands in the lines of the errors file too, with an answer of HTTP and without."""
    note = note_of(asked=AUTO_TARGET, answered=ASKED)
    line = error_line(
        batch_request_id="batch_req_1",
        custom_id="a",
        code="x",
        message="y",
        status_code=status_code,
        note=note,
    )
    assert orjson.loads(line)["batchmill"] == note


def test_an_http_failure_keeps_the_providers_words():
    """`error` is null and the status says it, as OpenAI has it."""
    line = error_line(
        batch_request_id="batch_req_1",
        custom_id="a",
        code="invalid_value",
        message="ours",
        status_code=400,
        provider_request_id="req_1",
        body=b'{"error":{"message":"theirs"}}',
    )
    assert orjson.loads(line) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {
            "status_code": 400,
            "request_id": "req_1",
            "body": {"error": {"message": "theirs"}},
        },
        "error": None,
    }


def test_an_http_failure_without_a_body_gets_one_of_openais_shape():
    """A reader finds `body.error.message` also where a proxy answered in HTML."""
    line = error_line(
        batch_request_id="batch_req_1", custom_id="a", code="bad_gateway", message="no", status_code=502
    )
    assert orjson.loads(line)["response"]["body"] == {
        "error": {"message": "no", "type": "server_error", "param": None, "code": "bad_gateway"}
    }


def test_a_failure_without_http_has_no_response():
    """Timeouts, cancelled and expired requests are told under `error`."""
    line = error_line(batch_request_id="batch_req_1", custom_id="a", code="batch_expired", message="too late")
    assert orjson.loads(line) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": None,
        "error": {"code": "batch_expired", "message": "too late"},
    }


def test_both_files_appear_when_the_block_ends(paths):
    """Until then nothing stands under their names, afterwards nothing else does."""
    with ResultFiles(output=paths.output, errors=paths.errors) as files:
        files.add_output(LINE)
        files.add_error(LINE * 2)
        assert not paths.output.exists()
        assert not paths.errors.exists()
    assert paths.output.read_bytes() == LINE
    assert paths.errors.read_bytes() == LINE * 2
    assert set(paths.folder.iterdir()) == {paths.output, paths.errors}


def test_without_errors_a_stale_errors_file_goes(paths):
    """Errors of an earlier run are not mistaken for errors of this one; an empty output still appears."""
    paths.errors.write_bytes(b"old")
    with ResultFiles(output=paths.output, errors=paths.errors):
        pass
    assert paths.output.read_bytes() == b""
    assert set(paths.folder.iterdir()) == {paths.output}


def test_new_answers_never_stand_beside_old_errors(paths, monkeypatch):
    """Killed between the two steps: the old errors have gone first, the output that means "finished" comes last."""
    paths.output.write_bytes(b"old")
    paths.errors.write_bytes(b"old")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    def deliver() -> None:
        with ResultFiles(output=paths.output, errors=paths.errors) as files:
            files.add_output(LINE)
            monkeypatch.setattr(os, "replace", die)

    with pytest.raises(KeyboardInterrupt):
        deliver()
    assert {path: path.read_bytes() for path in paths.folder.iterdir()} == {paths.output: b"old"}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(paths, failure):
    """Old results stay whole, and no temporary file is left."""
    paths.output.write_bytes(b"old")
    paths.errors.write_bytes(b"old")

    def write_and_fail() -> None:
        with ResultFiles(output=paths.output, errors=paths.errors) as files:
            files.add_output(LINE)
            files.add_error(LINE)
            raise failure

    with pytest.raises(failure):
        write_and_fail()
    assert paths.output.read_bytes() == paths.errors.read_bytes() == b"old"
    assert set(paths.folder.iterdir()) == {paths.output, paths.errors}


@pytest.fixture
def disk_of_100_kb() -> Iterator[None]:
    """No file may grow beyond 100 kB: the kernel refuses the write as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("disk_of_100_kb")
@pytest.mark.parametrize("lines", [10_000, 100_000], ids=["at the end", "on the way"])
def test_a_full_disk_is_told_with_a_way_out_and_leaves_nothing(paths, lines):
    """Whether the buffer is written in between or at the end only."""

    def write() -> None:
        with ResultFiles(output=paths.output, errors=paths.errors) as files:
            for _ in range(lines):
                files.add_output(LINE)

    with pytest.raises(OutputError, match=str(paths.output)) as refused:
        write()
    assert refused.value.hint
    assert list(paths.folder.iterdir()) == []


def test_files_respect_the_umask(paths):
    """Results are as public as any file the user makes, not more and not less."""
    before = os.umask(0o027)
    try:
        with ResultFiles(output=paths.output, errors=paths.errors):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(paths.output.stat().st_mode) == 0o640


def test_a_symbolic_link_is_followed(paths):
    """The link stays, and what it points to is replaced."""
    target = paths.folder / "elsewhere" / "real.jsonl"
    target.parent.mkdir()
    paths.output.symlink_to(target)
    with ResultFiles(output=paths.output, errors=paths.errors) as files:
        files.add_output(LINE)
    assert paths.output.is_symlink()
    assert target.read_bytes() == LINE


def test_a_long_name_in_any_script_can_be_written(paths):
    """A name as long as the file system allows leaves room for the temporary one."""
    output = paths.folder / ("字" * 80 + ".jsonl")
    with ResultFiles(output=output, errors=paths.errors):
        pass
    assert output.exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("answers.jsonl", "answers.errors.jsonl"),
        ("answers", "answers.errors.jsonl"),
        ("a.txt", "a.txt.errors.jsonl"),
    ],
)
def test_errors_go_beside_the_answers(name, expected):
    """The default name is made from the output's."""
    assert default_errors_path(Path("out") / name) == Path("out") / expected


def test_writable_paths_pass_and_leave_no_trace(paths):
    """The check before the work changes nothing, also where results stand already."""
    paths.output.write_bytes(b"old")
    check_writable([paths.output, paths.errors], source=paths.folder / "questions.jsonl")
    assert set(paths.folder.iterdir()) == {paths.output}
    assert paths.output.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (lambda folder: None, "missing/answers.jsonl", "there is no folder"),
        (lambda folder: (folder / "answers.jsonl").mkdir(), "answers.jsonl", "is a directory"),
        (lambda folder: (folder / "file").touch(), "file/answers.jsonl", "there is no folder"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe", "is a device or pipe"),
        (lambda folder: None, "x" * 300, "cannot be written"),
        (lambda folder: (folder / "loop").symlink_to(folder / "loop"), "loop", "cannot be written"),
    ],
    ids=["no folder", "directory", "file as folder", "pipe", "long name", "endless link"],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path, make, name, reason):
    """By the check and by the writer alike, with a next step."""
    make(tmp_path)
    path = tmp_path / name
    with pytest.raises(OutputError, match=reason) as refused:
        check_writable([path])
    assert refused.value.hint
    with pytest.raises(OutputError, match=reason), ResultFiles(output=path, errors=tmp_path / "errors"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(paths):
    """A probe file is made, as permission bits alone do not tell."""
    paths.folder.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable([paths.output])


@pytest.mark.parametrize("stream", ["-", "/dev/stdout", "/dev/fd/1"])
def test_a_stream_is_refused(stream):
    """Answers to standard output are not supported, and it is said so."""
    with pytest.raises(MisuseError, match="is a stream"):
        check_writable([Path(stream)])


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_the_input_is_never_overwritten(paths, link):
    """Under whatever name it is given as the output."""
    source = paths.folder / "questions.jsonl"
    source.touch()
    link(source, paths.output)
    for output in (source, paths.folder / "." / "questions.jsonl", paths.output):
        with pytest.raises(MisuseError, match="is the input file"):
            check_writable([output, paths.errors], source=source)


def test_answers_and_errors_need_different_files(paths):
    """One would overwrite the other."""
    with pytest.raises(MisuseError, match="cannot go to one file"):
        check_writable([paths.output, paths.folder / "." / "answers.jsonl"])
