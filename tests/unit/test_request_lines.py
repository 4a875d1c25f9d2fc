"""Input lines: what is accepted, what each bad line is told, and that nothing is altered or held."""

import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.errors import InputError
from batchmill.requests.checks import CONTENT, _is_sound, find_faults
from batchmill.requests.jsonl import MAX_DEPTH
from batchmill.requests.lines import read_lines
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.source import InputFile

CHAT_BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ABSENT = object()
CONTENTS = "messages, input or prompt"


def request_line(**fields: Any) -> bytes:
    """A valid chat line with some of its fields replaced, or left out where ABSENT."""
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT_BODY} | fields
    return orjson.dumps({name: value for name, value in line.items() if value is not ABSENT}) + b"\n"


def chat_line(**fields: Any) -> bytes:
    """The same with fields of the body replaced."""
    body = {name: value for name, value in (CHAT_BODY | fields).items() if value is not ABSENT}
    return request_line(body=body)


def read(data: bytes, **options: Any) -> list[RequestLine | LineError]:
    return list(read_lines(io.BufferedReader(io.BytesIO(data)), **options))


def only_error(data: bytes, **options: Any) -> LineError:
    (error,) = read(data, **options)
    assert isinstance(error, LineError)
    return error


def test_a_valid_line_keeps_every_field_of_its_body():
    """What the producer wrote under body is what goes on, unknown fields included."""
    body = CHAT_BODY | {"temperature": 0, "seed": 2**64 - 1, "new_field": {"x": [None, -0.5, "C++ é \u0000"]}}
    assert read(request_line(body=body)) == [
        RequestLine(line=1, custom_id="a", endpoint=Endpoint.CHAT, model="m", body=body)
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + request_line(),
        request_line().replace(b"\n", b"\r\n"),
        request_line().rstrip(),
        b"  " + request_line().rstrip() + b" \t\r\n",
    ],
    ids=["byte order mark", "CRLF", "no newline at the end", "spaces around"],
)
def test_harmless_variations_are_accepted(data):
    """What editors and Windows do to a file changes nothing."""
    (line,) = read(data)
    assert isinstance(line, RequestLine)


def test_a_model_for_lines_that_name_none():
    """It is filled in where the body has none, or null; a body with one keeps it."""
    bodies = [
        CHAT_BODY,
        {"model": None, "messages": CHAT_BODY["messages"]},
        {"messages": CHAT_BODY["messages"]},
    ]
    lines = read(
        b"".join(request_line(custom_id=str(n), body=body) for n, body in enumerate(bodies)), model="d"
    )
    assert [(line.model, line.body["model"]) for line in lines] == [("m", "m"), ("d", "d"), ("d", "d")]
    assert only_error(request_line(body=[]), model="d").param == "body"
    assert only_error(chat_line(model=""), model="d").param == "body.model"


def test_a_line_may_say_its_type():
    """What kind of question it is, in place of the batch's; null says nothing, and what is no name is a fault."""
    (typed, untyped, bad) = read(
        request_line(type="summary")
        + request_line(custom_id="b", type=None)
        + request_line(custom_id="c", type=7)
    )
    assert isinstance(typed, RequestLine)
    assert isinstance(untyped, RequestLine)
    assert isinstance(bad, LineError)
    assert (typed.request_type, untyped.request_type) == ("summary", "")
    assert (bad.code, bad.param) == ("invalid_type", "type")


def test_blank_lines_are_skipped_and_counted():
    """Line numbers are those of an editor."""
    lines = read(b"\n \t\r\n" + request_line() + b"\n" + b"nope\n")
    assert [line.line for line in lines] == [3, 5]


def test_every_bad_line_is_reported():
    """One bad line hides neither the next one nor the good ones."""
    lines = read(b"{\n" + request_line() + request_line(url="/v1/x") + b"7\n")
    assert [(line.line, type(line)) for line in lines] == [
        (1, LineError),
        (2, RequestLine),
        (3, LineError),
        (4, LineError),
    ]


def test_all_faults_of_a_line_are_reported():
    """A line that is wrong in three places is corrected in one go."""
    errors = read(request_line(custom_id=1, method="GET", body=ABSENT))
    assert [(error.line, error.code, error.param) for error in errors if isinstance(error, LineError)] == [
        (1, "invalid_type", "custom_id"),
        (1, "invalid_value", "method"),
        (1, "missing_required_parameter", "body"),
    ]


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"nope", "invalid_json_line", None),
        (b'{"a": NaN}', "invalid_json_line", None),
        (b'"text"', "invalid_json_line", None),
        (request_line(custom_id=ABSENT), "missing_required_parameter", "custom_id"),
        (request_line(method=ABSENT), "missing_required_parameter", "method"),
        (request_line(url=ABSENT), "missing_required_parameter", "url"),
        (request_line(body=ABSENT), "missing_required_parameter", "body"),
        (request_line(custom_id=7), "invalid_type", "custom_id"),
        (request_line(custom_id=None), "invalid_type", "custom_id"),
        (request_line(custom_id=""), "invalid_value", "custom_id"),
        (request_line(custom_id="x" * 513), "invalid_value", "custom_id"),
        (request_line(custom_id="x\0"), "invalid_value", "custom_id"),
        (request_line(method="GET"), "invalid_value", "method"),
        (request_line(method=["POST"]), "invalid_type", "method"),
        (request_line(url="/v1/images"), "invalid_url", "url"),
        (request_line(url={}), "invalid_type", "url"),
        (request_line(body=[]), "invalid_type", "body"),
        (request_line(body=None), "invalid_type", "body"),
        (chat_line(model=ABSENT), "invalid_request", "body.model"),
        (chat_line(model=""), "invalid_request", "body.model"),
        (chat_line(model=4), "invalid_type", "body.model"),
        (chat_line(model="m\0"), "invalid_value", "body.model"),
        (chat_line(stream=True), "streaming_unsupported", "body.stream"),
        (chat_line(stream="yes"), "invalid_type", "body.stream"),
        (chat_line(messages=ABSENT), "invalid_request", "body.messages"),
        (chat_line(messages=[]), "invalid_request", "body.messages"),
        (chat_line(messages="hi"), "invalid_type", "body.messages"),
        (request_line(url="/v1/embeddings", body={"model": "m"}), "invalid_request", "body.input"),
        (request_line(url="/v1/responses", body={"model": "m"}), "invalid_request", "body.input"),
        (request_line(url="/v1/moderations", body={"model": "m", "input": 1}), "invalid_type", "body.input"),
        (request_line(url="/v1/completions", body={"model": "m"}), "invalid_request", "body.prompt"),
    ],
)
def test_each_fault_has_openais_code_and_param(line, code, param):
    """Clients written for OpenAI's batch validation find the words they know."""
    error = only_error(line)
    assert (error.line, error.code, error.param) == (1, code, param)


def test_a_custom_id_of_512_characters_is_accepted():
    """The limit itself is allowed, counted in characters."""
    (line,) = read(request_line(custom_id="é" * 512))
    assert isinstance(line, RequestLine)


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("/v1/responses", {"input": "hi"}),
        ("/v1/responses", {"prompt": {"id": "pmpt_1"}}),
        ("/v1/embeddings", {"input": ["a", "b"]}),
        ("/v1/moderations", {"input": "hi"}),
        ("/v1/completions", {"prompt": ""}),
    ],
)
def test_every_endpoint_takes_its_own_content(url, content):
    """Each endpoint's content is looked for under its own name."""
    (line,) = read(request_line(url=url, body={"model": "m"} | content))
    assert isinstance(line, RequestLine)
    assert line.endpoint == url


def test_the_first_valid_line_sets_the_endpoint():
    """A bad line before it sets nothing; a different url after it is refused."""
    embedding = request_line(url="/v1/embeddings", body={"model": "m", "input": "x"})
    bad = request_line(url="/v1/embeddings", custom_id="", body={"model": "m", "input": "x"})
    lines = read(bad + request_line() + embedding)
    assert isinstance(lines[1], RequestLine)
    assert isinstance(lines[2], LineError)
    assert (lines[2].code, lines[2].param) == ("invalid_url", "url")


def test_a_given_endpoint_holds_from_the_first_line():
    """A batch made for an endpoint takes no other."""
    assert only_error(request_line(), endpoint=Endpoint.EMBEDDINGS).code == "invalid_url"


@pytest.mark.parametrize(
    "digits", [str(2**64), str(-(2**63) - 1), "1" + "0" * 300], ids=["2^64", "-2^63-1", "301 digits"]
)
def test_an_integer_beyond_64_bits_is_refused(digits):
    """It would be rounded on the way; the producer hears of it instead."""
    error = only_error(chat_line(seed=0).replace(b'"seed":0', b'"seed":' + digits.encode()))
    assert error.code == "invalid_value"
    assert "64 bits" in error.message


def test_long_digits_that_are_no_big_integer_pass():
    """The 64-bit limits themselves, digits in a text and a long fraction are no reason to refuse."""
    text = "card 12345678901234567890123"
    (line,) = read(
        chat_line(user=text, low=-(2**63), high=2**64 - 1)[:-2] + b',"x":0.12345678901234567890}\n'
    )
    assert isinstance(line, RequestLine)
    assert (line.body["user"], line.body["low"], line.body["high"]) == (text, -(2**63), 2**64 - 1)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 1_030, 200_000])
def test_deep_nesting_is_refused_and_crashes_nothing(depth):
    """Neither orjson's limits nor Python's stack are met by surprise later on."""
    error = only_error(chat_line(x=1).replace(b'"x":1', b'"x":' + b"[" * depth + b"]" * depth))
    assert error.code == "invalid_json_line"
    assert str(MAX_DEPTH) in error.message


def test_many_brackets_side_by_side_are_not_deep():
    """A long conversation is not mistaken for a deep one."""
    (line,) = read(chat_line(messages=[{"role": "user", "content": "["}] * 1_000))
    assert isinstance(line, RequestLine)


def test_invalid_utf8_names_the_byte_offset():
    """The place can be found in a hex editor."""
    error = only_error(request_line().replace(b"hi", b"h\xff"))
    assert error.code == "invalid_json_line"
    assert f"byte 0xff at byte offset {request_line().index(b'hi') + 1}" in error.message


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (request_line().decode().encode("utf-16"), "iconv"),
        (request_line().decode().encode("utf-16-le"), "iconv"),
        (request_line().decode().encode("utf-16-be"), "iconv"),
        (b"\n[" + request_line().strip() + b"," + request_line().strip() + b"]\n", "jq"),
        (b"\x1f\x8b\x08\x00\n\n\n", "gunzip"),
        (b"PK\x03\x04\x14\x00\n\n", "CSV"),
    ],
    ids=["utf-16", "utf-16-le", "utf-16-be", "JSON array", "gzip", "workbook"],
)
def test_a_file_that_is_no_jsonl_gets_one_error_with_a_way_out(data, hint):
    """One sentence about the file instead of one about each of its lines."""
    error = only_error(data)
    assert error.line is None
    assert hint in error.message


def test_a_pretty_printed_file_gets_the_hint_that_it_is_one():
    """The usual mistake of a first-time user is called by its name."""
    error = read(orjson.dumps(orjson.loads(request_line()), option=orjson.OPT_INDENT_2))[0]
    assert isinstance(error, LineError)
    assert "spread over several lines" in error.message


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b""])
def test_the_line_limit_is_met_exactly(line_end):
    """A line of just the limit passes, one byte more does not; its line end does not count."""
    line = request_line().strip()
    (fits,) = read(line + line_end, max_line_bytes=len(line))
    assert isinstance(fits, RequestLine)
    error = only_error(line + b" " + line_end, max_line_bytes=len(line))
    assert f"({len(line) + 1} bytes)" in error.message


def test_a_line_too_long_is_skipped_and_the_next_one_read():
    """20 MB against 16: the error names size, limit and setting, and the numbering goes on."""
    error, line = read(chat_line(user="x" * 20_000_000) + request_line())
    assert isinstance(error, LineError)
    assert error.line == 1
    assert all(part in error.message for part in ("20.0 MB", "16 MB", "BATCHMILL_MAX_LINE_MB"))
    assert isinstance(line, RequestLine)
    assert line.line == 2


def test_memory_does_not_grow_with_a_line_too_long(tmp_path):
    """An endless line costs its limit and a chunk, not its length."""
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    with path.open("rb") as stream:
        (error,) = read_lines(stream, max_line_bytes=100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(error, LineError)
    assert peak < 8_000_000


def test_the_last_of_repeated_keys_counts():
    """As documented, and as every common JSON parser has it."""
    (line,) = read(request_line().replace(b'"custom_id":"a"', b'"custom_id":"a","custom_id":"b"'))
    assert isinstance(line, RequestLine)
    assert line.custom_id == "b"


LINE = st.one_of(
    st.binary(max_size=40),
    st.just(request_line().strip()),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ).map(orjson.dumps),
    st.fixed_dictionaries(
        {},
        optional={
            "custom_id": st.text(max_size=3) | st.none(),
            "method": st.sampled_from(["POST", "GET", 1]),
            "url": st.sampled_from([*Endpoint, "/v1/x", None]),
            "body": st.just(CHAT_BODY) | st.dictionaries(st.sampled_from(["model", "input"]), st.text()),
        },
    ).map(orjson.dumps),
)


@given(st.lists(LINE, max_size=6).map(b"\n".join))
@example(b"\xef\xbb\xbf\xef\xbb\xbf{}")
@example(b"\xef\xbb\xbf\n{}")
@example(b'{"custom_id":"\\ud800"}')
@example(b"\r\r\n\x0c\n\x00")
def test_any_bytes_give_each_line_one_request_or_its_errors(data):
    """Nothing crashes it, and every non-blank line is accounted for under its own number."""
    outcomes = read(data, max_line_bytes=1_000)
    if outcomes and outcomes[-1].line is None:
        assert len(outcomes) == 1
        return
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [number for number, line in enumerate(lines, start=1) if line.strip()]
    assert sorted({outcome.line for outcome in outcomes if outcome.line}) == expected
    requests = [outcome.line for outcome in outcomes if isinstance(outcome, RequestLine)]
    errors = {outcome.line for outcome in outcomes if isinstance(outcome, LineError)}
    assert len(requests) == len(set(requests))
    assert not errors.intersection(requests)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("field", ["custom_id", "method", "url", "body", "model", CONTENTS, "stream"])
def test_what_looks_sound_at_a_glance_has_no_fault(field, endpoint):
    """The short way to say that a line is good never says it of one that the checks, one by one, find fault with."""
    name = CONTENT[endpoint][0] if field is CONTENTS else field
    values = [
        ABSENT,
        None,
        0,
        1,
        False,
        True,
        0.5,
        "",
        "a",
        "\0",
        "a\0",
        "é" * 512,
        "é" * 513,
        "POST",
        *Endpoint,
    ]
    for value in [*values, [], ["x"], {}, {"model": "m"}, CHAT_BODY]:
        body = {"model": "m", "prompt": "x", "input": "x", "messages": [{}]}
        line = {"custom_id": "a", "method": "POST", "url": endpoint.value, "body": body}
        changed = line if name in line else body
        changed[name] = value
        if value is ABSENT:
            del changed[name]
        if _is_sound(line, endpoint):
            assert find_faults(line, None) == [], value
            assert line["url"] == endpoint


def test_an_ordinary_line_is_seen_to_be_sound_at_a_glance():
    """Else every line would go the long way, five times as long."""
    assert _is_sound(orjson.loads(request_line()), Endpoint.CHAT)


@pytest.fixture
def questions(tmp_path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(request_line() * 3)
    return path


def test_hash_is_the_same_by_reading_and_by_hashing(questions):
    """One pass is enough to know what was read."""
    read_first = InputFile(questions)
    assert len(list(read_first.lines())) == 3
    assert read_first.sha256() == InputFile(questions).sha256()


def test_a_file_changed_between_hashing_and_reading_is_refused(questions):
    """What was hashed is what is taken in, also when size and times look alike."""
    source = InputFile(questions)
    source.sha256()
    questions.write_bytes(request_line(custom_id="b") * 3)
    with pytest.raises(InputError, match="changed while it was being read"):
        list(source.lines())


def test_a_file_that_grows_while_being_read_is_refused(questions):
    """A producer that is still writing is noticed."""
    lines = InputFile(questions).lines()
    next(lines)
    with questions.open("ab") as file:
        file.write(request_line())
    with pytest.raises(InputError, match="changed while it was being read"):
        list(lines)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.touch(), "is empty"),
        (os.mkfifo, "is a pipe"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
    ids=["missing", "directory", "empty", "pipe", "endless link"],
)
def test_an_input_that_is_no_readable_file_is_refused_at_once(tmp_path, make, reason):
    """The reason is named before any work starts."""
    path = tmp_path / "input.jsonl"
    make(path)
    with pytest.raises(InputError, match=reason):
        InputFile(path)


def test_a_file_of_blank_lines_is_refused(tmp_path):
    """No request and no error would otherwise look like success."""
    path = tmp_path / "blank.jsonl"
    path.write_bytes(b"\n \r\n\n")
    with pytest.raises(InputError, match="blank lines only"):
        list(InputFile(path).lines())


def test_the_example_file_is_valid_and_repeats_itself():
    """What the demo sends is accepted, and holds exact repeats under other ids."""
    path = Path(__file__).parents[2] / "examples" / "questions.jsonl"
    lines = list(InputFile(path).lines())
    assert all(isinstance(line, RequestLine) for line in lines)
    bodies = {orjson.dumps(line.body) for line in lines if isinstance(line, RequestLine)}
    assert len(bodies) < len(lines)
