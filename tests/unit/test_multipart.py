"""Multipart forms: the same form says the same, however it is cut on its way; what is broken is refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ApiError
from api.multipart import MOST_FIELD_BYTES, MOST_HEADER_BYTES, MOST_PARTS, Field, FileBegins, Piece, read_form

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
Told = list[tuple[str, str, bytes]]


def field(name: str, value: bytes) -> bytes:
    return part(f'form-data; name="{name}"', value)


def part(disposition: str, value: bytes, *more: str) -> bytes:
    headers = "\r\n".join([f"Content-Disposition: {disposition}", *more])
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def read(chunks: Sequence[bytes], content_type: str = TYPE) -> Told:
    """What a form says: its fields and files, each with its name, filename and content."""

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> Told:
        told: Told = []
        async for event in read_form(content_type, stream()):
            match event:
                case Field(name, value):
                    told.append((name, "", value.encode()))
                case FileBegins(name, filename):
                    told.append((name, filename, b""))
                case Piece(data):
                    told[-1] = (*told[-1][:2], told[-1][2] + data)
        return told

    return asyncio.run(collect())


def refused(chunks: Sequence[bytes], content_type: str = TYPE) -> str:
    with pytest.raises(ApiError) as caught:
        read(chunks, content_type)
    assert caught.value.status == 400
    return caught.value.message


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[first:last] for first, last in pairwise(ends)]


TRICKY = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b"--",
        b"\r\n--",
        f"\r\n--{BOUNDARY[:-1]}".encode(),
        BOUNDARY.encode(),
        b"x",
        b"\0",
    ]
)
CONTENT = st.lists(TRICKY | st.binary(max_size=20), max_size=12).map(b"".join)
INSIDE = f"\r\n--{BOUNDARY}".encode()


@given(
    CONTENT.filter(lambda data: INSIDE not in b"\r\n" + data), st.lists(st.integers(0, 10_000), max_size=30)
)
def test_however_it_is_cut(content: bytes, places: list[int]) -> None:
    """What looks like a boundary and is none belongs to the file, and the pieces of each form make the same whole."""
    data = form(field("purpose", b"batch"), part('form-data; name="file"; filename="a.jsonl"', content))
    assert read(cut(data, places)) == [("purpose", "", b"batch"), ("file", "a.jsonl", content)]


def test_byte_by_byte() -> None:
    """So it is where every byte comes alone."""
    data = form(part('form-data; name="file"; filename="a"', b"\r\n--x\r\n"), field("purpose", b"batch"))
    assert read([bytes([byte]) for byte in data]) == [
        ("file", "a", b"\r\n--x\r\n"),
        ("purpose", "", b"batch"),
    ]


@given(st.binary(max_size=300), st.lists(st.integers(0, 1_000), max_size=5))
def test_nonsense_is_refused(data: bytes, places: list[int]) -> None:
    """Bytes that are no form are refused, never answered with an error of ours."""
    refused(cut(data, places))


@given(st.integers(0, 1_000))
def test_cut_short(place: int) -> None:
    """A form that ends before its end is refused wherever that is."""
    data = form(field("purpose", b"batch"), part('form-data; name="file"; filename="a"', b"{}"))
    end = len(data) - len("--\r\n")
    refused([data[: place % end]])


def test_nothing_comes() -> None:
    """Neither is no body at all a form."""
    assert "ends before" in refused([])


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=",
    ],
)
def test_no_form(content_type: str) -> None:
    """What does not say that it is a form, and what its boundary is, is refused."""
    assert "multipart/form-data" in refused([form()], content_type)


def test_another_boundary() -> None:
    """A form whose boundary is not the one that is told is refused."""
    refused([form(field("purpose", b"batch"))], "multipart/form-data; boundary=other")


@pytest.mark.parametrize("boundary", ["x" * 70, "'()+_,-./:=?", "a"])
def test_odd_boundaries(boundary: str) -> None:
    """Whatever RFC 2046 allows is one, quoted or not."""
    data = form(field("purpose", b"batch")).replace(BOUNDARY.encode(), boundary.encode())
    assert read([data], f'multipart/form-data; boundary="{boundary}"') == [("purpose", "", b"batch")]


def test_a_boundary_of_any_length() -> None:
    """One that is longer than any is refused or read, and stops nobody."""
    long = "b" * 100_000
    refused([b"x" * 10], f"multipart/form-data; boundary={long}")


def test_what_comes_before_and_after() -> None:
    """What follows the end of a form is nobody's, however much it is."""
    data = form(field("purpose", b"batch"))
    assert read([data, *[b"x" * 100_000] * 20]) == [("purpose", "", b"batch")]


@pytest.mark.parametrize("pieces", [1, 500])
def test_headers_without_end(pieces: int) -> None:
    """Headers of a part are taken up to a size, in one piece or in many."""
    huge = b"X-Huge: " + b"x" * (MOST_HEADER_BYTES + 1)
    data = part('form-data; name="a"', b"").replace(b"\r\n\r\n", b"\r\n" + huge + b"\r\n\r\n", 1)
    size = len(data) // pieces + 1
    refused([data[first : first + size] for first in range(0, len(data), size)])


def test_many_short_headers() -> None:
    """So are many that are short each."""
    more = [f"X-{n}: y" for n in range(MOST_HEADER_BYTES // 4)]
    refused([form(part('form-data; name="a"', b"", *more))])


def test_many_parts() -> None:
    """A form of more parts than anybody needs is refused."""
    assert str(MOST_PARTS) in refused([form(*[field("a", b"")] * (MOST_PARTS + 1))])
    assert len(read([form(*[field("a", b"")] * MOST_PARTS)])) == MOST_PARTS


def test_a_long_field() -> None:
    """A field is held in memory, so it has a largest size; a file has not."""
    long = b"x" * (MOST_FIELD_BYTES + 1)
    assert "'a'" in refused([form(field("a", long))])
    assert read([form(part('form-data; name="a"; filename="b"', long))]) == [("a", "b", long)]


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="file"; filename="in.jsonl"', "file", "in.jsonl"),
        ("form-data; name=file; filename=in.jsonl", "file", "in.jsonl"),
        ('form-data; filename="in.jsonl"; name="file"', "file", "in.jsonl"),
        ('FORM-DATA; NAME="file"; FILENAME="in.jsonl"', "file", "in.jsonl"),
        ('form-data; name="file"; filename=""', "file", ""),
        ('form-data; name="file"; filename="a;b=c.jsonl"', "file", "a;b=c.jsonl"),
        ('form-data; name="file"; filename="a\\"b.jsonl"', "file", 'a"b.jsonl'),
        ('form-data; name="file"; filename="é☃.jsonl"', "file", "é☃.jsonl"),
        ("form-data; name=\"file\"; filename*=UTF-8''%E2%98%83.jsonl", "file", "☃.jsonl"),
        ('form-data; name="file"; filename="x"; filename*=UTF-8\'\'%E2%98%83.jsonl', "file", "x"),
        ('form-data; name="file"; filename*=UTF-8\'\'%E2%98%83.jsonl; filename="x"', "file", "x"),
        ("form-data; name=\"file\"; filename*=iso-8859-1'en'%A3.jsonl", "file", "£.jsonl"),
    ],
)
def test_names_as_clients_write_them(disposition: str, name: str, filename: str) -> None:
    """Quoted or not, in any order, in UTF-8 as browsers send it; encoded as RFC 5987 has it where there is no other."""
    told = read([form(part(disposition, b"x", "Content-Type: application/octet-stream"))])
    assert told == [(name, filename, b"x")]


@pytest.mark.parametrize(
    "disposition",
    [
        "form-data",
        "",
        'form-data; name="a',
        "form-data; name*=nonsense; filename*=''",
        "form-data; name*=x-none'y'%FF; filename*=x-none'y'%FF",
        "form-data; name=\"a\"; filename*=UTF-8''%FF%FE",
        'form-data; name="a"; filename*0="x"; filename*1="y"',
        'attachment; name="a"; filename="b"',
        "\xff; name=\xff",
        "a" * 10_000,
        ";" * 5_000,
    ],
)
def test_odd_dispositions(disposition: str) -> None:
    """A part whose head says nothing that can be understood is some part, or refused, and no error of ours."""
    data = b"--%b\r\nContent-Disposition: %b\r\n\r\nx\r\n--%b--\r\n" % (
        BOUNDARY.encode(),
        disposition.encode("latin-1"),
        BOUNDARY.encode(),
    )
    with suppress(ApiError):
        assert len(read([data])) == 1


def test_a_part_without_a_head() -> None:
    """One with no headers is a field without a name."""
    data = f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()
    assert read([data]) == [("", "", b"x")]


def test_empty_files_and_fields() -> None:
    """Nothing is something too."""
    data = form(part('form-data; name="file"; filename="a"', b""), field("purpose", b""))
    assert read([data]) == [("file", "a", b""), ("purpose", "", b"")]
