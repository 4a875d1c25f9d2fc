"""How far somebody has come who takes the results of a batch as they end: a place that they carry with them.

It names the place up to which they have looked, and the places up to there that were still open. As a token it is
url-safe text: a version, varints (the former, then the latter as steps from one to the next), and a check that binds
it to its batch. The check is against mistakes, not against malice: a cursor gives nobody more than what is theirs.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from batchmill.requests.ids import MAX_PLACES

MOST_OPEN: Final = 1_000
"""With so many places open nobody looks any further, so that a token fits the headers and addresses that proxies let
through: 6 kB if all of these are far apart, 2 kB as a rule."""

MOST_PUT_BACK: Final = 1_000
"""As many places whose lines had ended, but did not fit, it may name besides: neighbours, a byte each."""

_VERSION: Final = b"\x01"
_CHECK_BYTES: Final = 4
_VARINT_BYTES: Final = 5
_MOST_NAMED: Final = MOST_OPEN + MOST_PUT_BACK
_LONGEST: Final = 4 * (len(_VERSION) + _VARINT_BYTES * (_MOST_NAMED + 1) + _CHECK_BYTES) // 3 + 1


class CursorError(ValueError):
    """A token that is none of this batch's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far somebody has come.

    Attributes:
        looked_to: The last place (from 1) that they have looked at.
        still_open: The places up to there whose lines they have not been given yet, in ascending order.
    """

    looked_to: int = 0
    still_open: Sequence[int] = ()

    def token(self, batch: str) -> str:
        """As text that fits a URL, for the batch of that public name."""
        payload = bytearray(_VERSION)
        before = 0
        _put(payload, self.looked_to)
        for place in self.still_open:
            _put(payload, place - before)
            before = place
        return base64.urlsafe_b64encode(payload + _check(batch, payload)).rstrip(b"=").decode()


def read_cursor(token: str, batch: str, total: int) -> Cursor:
    """The cursor that a token of this batch stands for.

    Args:
        batch: The batch's public name.
        total: How many lines it has.

    Raises:
        CursorError: It was not made by `Cursor.token` for this batch, or is not whole.
    """
    if len(token) > _LONGEST or not token.isascii():
        raise CursorError("it is longer than any cursor, or no ASCII")
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise CursorError("it is no base64") from None
    payload, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if payload[:1] != _VERSION or check != _check(batch, payload):
        raise CursorError("it is not of this batch, or not whole")
    looked_to, *steps = _numbers(payload[1:])
    cursor = Cursor(looked_to=looked_to, still_open=tuple(_sums(steps)))
    if not looked_to <= min(total, MAX_PLACES) or len(steps) > _MOST_NAMED or 0 in steps:
        raise CursorError("it names what the batch has not")
    # Of two tokens for the same, base64 with loose ends for instance, only ours is one.
    if (cursor.still_open and cursor.still_open[-1] > looked_to) or cursor.token(batch) != token:
        raise CursorError("it names what the batch has not")
    return cursor


def _put(payload: bytearray, number: int) -> None:
    while number > 0x7F:
        payload.append(number & 0x7F | 0x80)
        number >>= 7
    payload.append(number)


def _numbers(payload: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in payload:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number, shift = 0, 0
        elif shift >= 7 * _VARINT_BYTES:
            raise CursorError("it holds a number that no place has")
    if shift or not numbers:
        raise CursorError("it is not whole")
    return numbers


def _sums(steps: Sequence[int]) -> Iterator[int]:
    place = 0
    for step in steps:
        place += step
        yield place


def _check(batch: str, payload: bytes | bytearray) -> bytes:
    return hashlib.sha256(batch.encode() + payload).digest()[:_CHECK_BYTES]
