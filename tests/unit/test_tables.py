"""Tables: what CSV is accepted, what each bad row is told, and that nothing is held."""

import io
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import BatchmillError, InputError, MisuseError
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.shape import InputFormat, InputShape

LIMIT = 10_000


def read(data: bytes, **shape: Any) -> list[RequestLine | LineError]:
    """What a table becomes."""
    wanted = InputShape(**{"format": InputFormat.CSV, "model": "m", "prompt_column": "text"} | shape)
    stream = io.BufferedReader(io.BytesIO(data))
    return list(wanted.resolved(data).read(stream, max_line_bytes=LIMIT))


def asked(data: bytes, **shape: Any) -> list[tuple[int, str, str]]:
    """Line, id and prompt of each row, which all have to be good."""
    found = read(data, **shape)
    assert all(isinstance(row, RequestLine) for row in found), found
    return [
        (row.line, row.custom_id, row.body["messages"][-1]["content"])
        for row in found
        if isinstance(row, RequestLine)
    ]


def faults(data: bytes, **shape: Any) -> list[tuple[int | None, str]]:
    """Line and code of each bad row."""
    return [(row.line, row.code) for row in read(data, **shape) if isinstance(row, LineError)]


@pytest.mark.parametrize(
    "data",
    [
        b"id,text\n1,Hi\n2,Ho\n",
        b"\xef\xbb\xbfid,text\r\n1,Hi\r\n2,Ho",
        b"id\ttext\n1\tHi\n2\tHo\n",
        b"id;text\n1;Hi\n2;Ho\n",
        b'"id","text"\n"1","Hi"\n"2","Ho"\n',
        b'"id","text","a;b;c;d"\n1,Hi,\n2,Ho,\n',
        b" id , text \n1,Hi\n2,Ho\n",
    ],
    ids=[
        "plain",
        "BOM and CRLF",
        "tabs",
        "semicolons",
        "all quoted",
        "separators in quotes",
        "spaces in the header",
    ],
)
def test_tables_as_programs_write_them(data: bytes) -> None:
    """The header's separator is the table's."""
    assert asked(data) == [(2, "1", "Hi"), (3, "2", "Ho")]


def test_blank_lines_before_and_between_rows() -> None:
    """They are skipped, and counted as lines but not as rows."""
    assert asked(b"\n\ntext,x\n\nHi,1\n\nHo,2\n") == [(5, "1", "Hi"), (7, "2", "Ho")]


def test_a_value_may_hold_anything_in_quotes() -> None:
    """Separators, quotes, line ends; the row's number is that of its first line."""
    data = 'text,n\n"a, ""b""\n\nc;\td",1\n"é\r\n好",2\nplain "quotes" inside,3\n'.encode()
    assert asked(data) == [
        (2, "1", 'a, "b"\n\nc;\td'),
        (5, "2", "é\r\n好"),
        (7, "3", 'plain "quotes" inside'),
    ]


@given(st.lists(st.text(alphabet='ab,;\t"\n\r é', min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_what_pythons_writer_writes_is_read_back(texts: list[str]) -> None:
    """Any text in quotes comes back as it was."""
    quoted = ('"' + text.replace('"', '""') + '"' for text in texts)
    data = "n,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate(quoted))
    assert [prompt for _, _, prompt in asked(data.encode())] == texts


def test_templates_fill_in_columns() -> None:
    """Each place gets the value of its column, once put in never read again; doubled braces are braces."""
    data = b"name,the text,id\nAnn,{name} {{,x\n"
    assert asked(data, prompt_column="", prompt="{name}: {{{ the text }}} {name}") == [
        (2, "x", "Ann: {{name} {{} Ann")
    ]


def test_the_column_named_prompt_needs_no_naming() -> None:
    """Where nothing says what the prompt is."""
    assert asked(b"prompt\nHi\n", prompt_column="") == [(2, "1", "Hi")]


def test_where_the_id_comes_from() -> None:
    """The column that is named, else `id`, else the row's number."""
    data = b"key,id,text\nk,i,Hi\n"
    assert asked(data, id_column="key") == [(2, "k", "Hi")]
    assert asked(data) == [(2, "i", "Hi")]
    assert asked(b"key,text\nk,Hi\n") == [(2, "1", "Hi")]


def test_embeddings_of_a_column() -> None:
    """On an endpoint without messages the prompt is its text."""
    (row,) = read(b"text\nHi\n", endpoint=Endpoint.EMBEDDINGS)
    assert isinstance(row, RequestLine)
    assert (row.endpoint, row.body) == (Endpoint.EMBEDDINGS, {"model": "m", "input": "Hi"})


def test_bad_rows_are_told_and_the_rest_is_read_on() -> None:
    """Each with the number of its first line; a row whose text is not UTF-8 does not shift the others."""
    data = (
        b"id,text\n"
        b"1\n"
        b"2,a,b\n"
        b'3,"a"b\n'
        b'4,"caf\xe9\n\xe9"\n'
        b"5,\n"
        b",x\n"
        b"7,one\rtwo\n"
        b"8,good\n" + b"x" * 513 + b",long id\n"
    )
    assert faults(data) == [
        (2, "invalid_csv_row"),
        (3, "invalid_csv_row"),
        (4, "invalid_csv_row"),
        (5, "invalid_csv_row"),
        (7, "invalid_value"),
        (8, "invalid_value"),
        (9, "invalid_csv_row"),
        (11, "invalid_value"),
    ]
    good = [row for row in read(data) if isinstance(row, RequestLine)]
    assert [(row.line, row.custom_id) for row in good] == [(10, "8")]
    assert not any("\n" in row.message for row in read(data) if isinstance(row, LineError))


def test_a_quote_that_is_never_closed() -> None:
    """It is told at the line where it was opened; up to the limit nothing else can be known."""
    told = read(b'id,text\n1,a\n2,"b\n3,c\n')
    assert isinstance(told[-1], LineError)
    assert (told[-1].line, "never closed" in told[-1].message) == (3, True)
    beyond = read(b'id,text\n1,a\n2,"b\n' + b"3,c\n" * LIMIT)
    assert isinstance(beyond[-1], LineError)
    assert [line.line for line in beyond] == [2, 3]
    assert "Is a quote not closed? What follows was not read." in beyond[-1].message


def test_a_row_beyond_the_limit() -> None:
    """One line or several: told with its size."""
    for row in (b"1," + b"x" * LIMIT, b'1,"' + b"x\n" * LIMIT + b'"'):
        (told,) = read(b"id,text\n" + row + b"\n")
        assert isinstance(told, LineError)
        assert (told.line, told.code) == (2, "invalid_request")
    assert len(asked(b"id,text\n1," + b"x" * (LIMIT - 2) + b"\n")) == 1


@pytest.mark.parametrize(
    ("data", "shape", "error", "said"),
    [
        (b"id,text\n", {}, InputError, "has a header and no rows"),
        (b"id,text\n\n\n", {}, InputError, "has a header and no rows"),
        (b"a,b,a\n1,2,3\n", {}, InputError, "names the column 'a' twice"),
        (b",,\n1,2,3\n", {}, InputError, "has no header"),
        (b'"text\n1\n', {}, InputError, "the header cannot be read"),
        (b"caf\xe9\n1\n", {}, InputError, "the header cannot be read: This row is not UTF-8"),
        ("id,text\n".encode("utf-16"), {}, InputError, "UTF-16"),
        (b"\x1f\x8b\x08", {}, InputError, "gzip"),
        (b"PK\x03\x04\x14\0", {}, InputError, "Excel"),
        (b"id,txt\n1,Hi\n", {}, MisuseError, "--prompt-column: the input has no column 'text'"),
        (b"id,text\n1,Hi\n", {"id_column": "key"}, MisuseError, "--id-column: the input has no column 'key'"),
        (b"a,b\n1,2\n", {"prompt_column": ""}, MisuseError, "nothing says which column"),
        (b"a\n1\n", {"prompt_column": "", "prompt": "{a} {c}"}, MisuseError, "--prompt: the input has no column 'c'"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(
    data: bytes, shape: dict[str, Any], error: type[BatchmillError], said: str
) -> None:
    """What is wrong is named, and where a column is, so are the columns there are."""
    with pytest.raises(error, match=said) as refused:
        read(data, **shape)
    if error is MisuseError:
        assert "its columns: " in refused.value.hint


class _Endless(io.RawIOBase):
    """A table of many rows that exists nowhere."""

    def __init__(self, rows: int) -> None:
        self._rows = self._write(rows)

    @staticmethod
    def _write(rows: int) -> Iterator[bytes]:
        yield b"id,text\n"
        for number in range(rows):
            yield b'%d,"line\n%s"\n' % (number, b"x" * 500)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = next(self._rows, b"")
        buffer[: len(data)] = data
        return len(data)


def test_memory_does_not_grow_with_the_table() -> None:
    """Ten thousand rows take no more than a thousand."""
    shape = InputShape(format=InputFormat.CSV, model="m", prompt="Say {text}")
    peaks = []
    for rows in (1_000, 10_000):
        tracemalloc.start()
        stream = io.BufferedReader(_Endless(rows), 8_192)
        assert sum(1 for _ in shape.read(stream, max_line_bytes=LIMIT)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000
