"""Cursors of results: what they stand for comes back, and nothing else is taken for one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.requests.ids import MAX_PLACES
from batchmill.results.cursor import MOST_OPEN, MOST_PUT_BACK, Cursor, CursorError, read_cursor

BATCH = "batch_0123456789abcdef01234567"


@st.composite
def cursors(draw: st.DrawFn) -> Cursor:
    looked_to = draw(st.integers(0, MAX_PLACES))
    places = st.sets(st.integers(1, looked_to), max_size=50) if looked_to else st.just(set())
    return Cursor(looked_to=looked_to, still_open=tuple(sorted(draw(places))))


@given(cursors())
def test_it_comes_back(cursor: Cursor) -> None:
    """Whatever is open, in characters that a URL takes as they are."""
    token = cursor.token(BATCH)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert read_cursor(token, BATCH, MAX_PLACES) == cursor


def test_the_longest_one_fits_a_header() -> None:
    """As many open places as may be, as far apart as can be."""
    step = MAX_PLACES // MOST_OPEN
    apart = [*range(step, MAX_PLACES, step)][:MOST_OPEN]
    beside = [apart[0] + nth for nth in range(1, MOST_PUT_BACK + 1)]
    cursor = Cursor(looked_to=MAX_PLACES, still_open=tuple(sorted([*apart, *beside])))
    token = cursor.token(BATCH)
    assert len(token) < 8_000
    assert read_cursor(token, BATCH, MAX_PLACES) == cursor


@given(cursors(), st.data())
def test_what_was_changed_is_none(cursor: Cursor, data: st.DataObject) -> None:
    """Neither one character more, less, or another."""
    token = cursor.token(BATCH)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("AQgw_-9z").filter(lambda char: char != token[at]))
    for changed in (token[:at] + other + token[at + 1 :], token[:at] + token[at + 1 :], token + other):
        with pytest.raises(CursorError):
            read_cursor(changed, BATCH, MAX_PLACES)


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())))
def test_anything_else_is_none(text: str) -> None:
    """It is refused, and nothing else happens."""
    with pytest.raises(CursorError):
        read_cursor(text, BATCH, MAX_PLACES)


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor(looked_to=11),
        Cursor(looked_to=5, still_open=(6,)),
        Cursor(looked_to=5, still_open=(0,)),
        Cursor(looked_to=5, still_open=(2, 2)),
        Cursor(looked_to=10**6, still_open=tuple(range(1, MOST_OPEN + MOST_PUT_BACK + 2))),
    ],
    ids=["beyond the batch", "open beyond", "no place", "twice", "too many"],
)
def test_one_that_nobody_was_given(cursor: Cursor) -> None:
    """Well-formed, and still not of a batch of ten lines, or of any."""
    with pytest.raises(CursorError):
        read_cursor(cursor.token(BATCH), BATCH, 10 if cursor.looked_to < 10**6 else 10**6)


def test_one_of_another_batch() -> None:
    """It is refused, as it would skip lines."""
    with pytest.raises(CursorError):
        read_cursor(Cursor(looked_to=5).token(BATCH), BATCH[:-1] + "8", 10)
