"""The first line of an upload: whether there are objects on lines is known from it, whatever comes after."""

import pytest

from workers.serving.uploads import LONGEST_FIRST_LINE, FirstLine

OBJECT = b'{"custom_id": "a"}'
LONG = b'{"a": "' + b"x" * LONGEST_FIRST_LINE + b'"}'


@pytest.mark.parametrize("size", [1, 7, 10_000_000])
@pytest.mark.parametrize(
    ("data", "is_object"),
    [
        (OBJECT, True),
        (OBJECT + b"\n", True),
        (b"\xef\xbb\xbf" + OBJECT + b"\r\n" + b"nonsense", True),
        (b"\n\n  \r\n" + OBJECT, True),
        (b"", False),
        (b"\n \n", False),
        (b"nonsense\n" + OBJECT, False),
        (b"[" + OBJECT + b"]", False),
        (b'"text"\n', False),
        (b"{\n}", False),
        (b"\x1f\x8b\x08", False),
        (OBJECT.decode().encode("utf-16"), False),
        (b'{"a": "\xff"}', False),
        (b"{" * 5_000, False),
    ],
)
def test_first_line(data: bytes, is_object: bool, size: int) -> None:
    """However it comes in: an object on the first line that is not blank."""
    line = FirstLine()
    for first in range(0, len(data), size):
        line.see(data[first : first + size])
    assert line.is_object() is is_object


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \n"])
def test_a_line_too_long_to_tell(before: bytes) -> None:
    """One that only begins as an object is taken for one: whether it is, is the validation's to say."""
    for data, is_object in ((LONG, True), (b"[" + LONG, False)):
        line = FirstLine()
        line.see(before + data)
        line.see(b"\nx" * 100)
        assert line.is_object() is is_object


def test_the_rest_is_not_kept() -> None:
    """Of a large file no more is held than its first line."""
    line = FirstLine()
    for _ in range(100):
        line.see(OBJECT + b"\n" + b"x" * 100_000)
    assert len(line._kept) == len(OBJECT)
