"""Tells in flat memory whether two lines of an input may have one custom_id."""

from array import array
from collections.abc import Container, Iterable, Iterator

from batchmill.requests.model import LineError, RequestLine

_SHARES = 256


class Names:
    """Tells, in eight bytes a name, when surely none came twice, and which may have.

    Args:
        most: So many names are told apart.
    """

    def __init__(self, most: int) -> None:
        self._hashes = [array("q") for _ in range(_SHARES)]
        self._left = most

    def add(self, name: str) -> None:
        """Note a name."""
        self._left -= 1
        if self._left >= 0:
            number = hash(name)
            self._hashes[number % _SHARES].append(number)

    def may_repeat(self) -> bool:
        """Whether two names have one hash, or there were too many to tell."""
        return self._left < 0 or any(len(set(share)) < len(share) for share in self._hashes)

    def repeated(self) -> set[int]:
        """The hashes that came more than once, of those names that were told apart."""
        return {number for share in self._hashes for number in _twice(share)}


def duplicate(line: int, custom_id: str, first_line: int) -> LineError:
    """What is wrong with a line whose custom_id another has already."""
    return LineError(
        line=line,
        code="duplicate_custom_id",
        message=f"The custom_id {custom_id!r} is already used by line {first_line}.",
        param="custom_id",
    )


def duplicates(lines: Iterable[RequestLine | LineError], repeated: Container[int]) -> Iterator[LineError]:
    """The lines whose custom_id another has already, of those names whose hash is one of these."""
    first: dict[str, int] = {}
    for line in lines:
        if isinstance(line, RequestLine) and hash(line.custom_id) in repeated:
            before = first.setdefault(line.custom_id, line.line)
            if before != line.line:
                yield duplicate(line.line, line.custom_id, before)


def _twice(share: "array[int]") -> Iterator[int]:
    seen: set[int] = set()
    for number in share:
        if number in seen:
            yield number
        seen.add(number)
