"""Deadlines as people write them."""

import pytest

from batchmill.errors import MisuseError
from batchmill.requests.deadline import parse_deadline, require_future

NOW_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("text", "from_now_ms"),
    [
        ("90s", 90_000),
        ("30m", 1_800_000),
        (" 2h ", 7_200_000),
        ("1d", 86_400_000),
        ("2027-01-15T08:00:01Z", 1_000),
        ("2027-01-15T09:00:01+01:00", 1_000),
        ("2027-01-15 08:00:01.5+00:00", 1_500),
        ("2020-01-01T00:00Z", 1_577_836_800_000 - NOW_MS),
        ("0s", 0),
    ],
)
def test_times_from_now_and_moments(text: str, from_now_ms: int) -> None:
    """A time from now, or a moment with its zone; whether that is past is another question."""
    assert parse_deadline(text, NOW_MS) == NOW_MS + from_now_ms


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2027-01-15T08:00:01", "has no time zone"),
        ("2027-01-15", "has no time zone"),
        ("", "is no time"),
        ("soon", "is no time"),
        ("2 h", "is no time"),
        ("-1h", "is no time"),
        ("1.5h", "is no time"),
        ("٣h", "is no time"),
        ("2027-13-01T00:00Z", "is no time"),
        ("4000d", "more than ten years away"),
        ("999999999d", "more than ten years away"),
        ("9999-12-31T23:59:59Z", "more than ten years away"),
        ("0001-01-01T00:00+14:00", "is no time"),
    ],
)
def test_what_is_no_deadline(text: str, said: str) -> None:
    """It is refused with how one is written."""
    with pytest.raises(MisuseError, match=said) as refused:
        parse_deadline(text, NOW_MS)
    assert "2h" in refused.value.hint


def test_a_new_batch_needs_time() -> None:
    """What is past, or now, is refused; none is for ever."""
    require_future(None, NOW_MS)
    require_future(NOW_MS + 1, NOW_MS)
    with pytest.raises(MisuseError, match="2027-01-15T08:00:00Z is in the past"):
        require_future(NOW_MS, NOW_MS)
