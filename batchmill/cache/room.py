"""How large the cache may be, and which of its answers are one too many; in flat memory, however many there are."""

from collections import defaultdict
from dataclasses import dataclass

SPARED = 10
"""Of a limit that is passed so much is left free, a tenth: not for nothing again an hour later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """So many entries, and bytes of the answers that they point to."""

    entries: int = 0
    answer_bytes: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(entries=self.entries + other.entries, answer_bytes=self.answer_bytes + other.answer_bytes)

    def __sub__(self, other: "Size") -> "Size":
        return Size(entries=self.entries - other.entries, answer_bytes=self.answer_bytes - other.answer_bytes)

    def covers(self, other: "Size") -> bool:
        """Whether neither is less than the other's."""
        return self.entries >= other.entries and self.answer_bytes >= other.answer_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The most that the cache may hold; 0 = without a limit."""

    max_entries: int = 0
    max_bytes: int = 0

    def surplus(self, held: Size) -> Size:
        """How much has to go, of entries and of bytes; nothing of what keeps its limit."""
        return Size(
            entries=_surplus(held.entries, self.max_entries),
            answer_bytes=_surplus(held.answer_bytes, self.max_bytes),
        )


def _surplus(held: int, limit: int) -> int:
    return held - filled(limit) if 0 < limit < held else 0


def filled(limit: int) -> int:
    """How much is left of what is cleaned down to a limit."""
    return limit - limit // SPARED


@dataclass(slots=True)
class Cut:
    """Where the line is drawn: what is below goes, and of what is on it so much.

    Attributes:
        rank: See `batchmill.cache.worth`.
        on_it: What is still to go of this very rank; counted down as it does.
        size: All that goes, as it was counted.
    """

    rank: int
    on_it: Size
    size: Size

    def takes(self, rank: int, answer_bytes: int) -> bool:
        """Whether an answer of this rank and size goes; if it is on the line, it is counted."""
        if rank != self.rank:
            return rank < self.rank
        if Size().covers(self.on_it):
            return False
        self.on_it -= Size(entries=1, answer_bytes=answer_bytes)
        return True


class Ranks:
    """How much there is of each rank: some thousand numbers at most."""

    def __init__(self) -> None:
        self._entries: defaultdict[int, int] = defaultdict(int)
        self._bytes: defaultdict[int, int] = defaultdict(int)

    def add(self, rank: int, answer_bytes: int) -> None:
        """Count an answer."""
        self._entries[rank] += 1
        self._bytes[rank] += answer_bytes

    def cut(self, surplus: Size) -> Cut | None:
        """The line below which there is as much as has to go, or all there is; None where nothing is counted or
        nothing has to go."""
        below, found = Size(), None
        for rank in sorted(self._entries):
            if below.covers(surplus):
                break
            on_it = Size(entries=self._entries[rank], answer_bytes=self._bytes[rank])
            found = Cut(rank=rank, on_it=surplus - below, size=below + on_it)
            below += on_it
        return found
