"""Marks: what somebody says of an answer, by the line that it answers."""

import re
from dataclasses import dataclass
from typing import Any, Final

from batchmill.training.model import LEAST_RATING, MOST_RATING

_TAG: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
MOST_TAGS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is said of an answer; None leaves that as it is.

    Attributes:
        rating: 0 to 5, 5 is best.
        verified: Somebody or something has found it right.
        tags: Take the place of those that it has.
    """

    rating: int | None = None
    verified: bool | None = None
    tags: tuple[str, ...] | None = None

    @property
    def says_nothing(self) -> bool:
        """Whether it changes nothing."""
        return self.rating is None and self.verified is None and self.tags is None


def read_rating(value: Any) -> int:
    """A rating.

    Raises:
        ValueError: It is none.
    """
    text = str(value).strip()
    is_one = not isinstance(value, bool) and re.fullmatch(r"[0-9]{1,2}(\.0)?", text) is not None
    if not is_one or not LEAST_RATING <= float(text) <= MOST_RATING:
        raise ValueError(f"rating is {value!r}; it takes a whole number from {LEAST_RATING} to {MOST_RATING}")
    return int(float(text))


_YES, _NO = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def read_verified(value: Any) -> bool:
    """Whether it is verified.

    Raises:
        ValueError: It says neither.
    """
    text = str(value).strip().lower()
    if text not in _YES | _NO:
        raise ValueError(f"verified is {value!r}; it takes true or false, yes or no")
    return text in _YES


def read_tags(value: Any) -> tuple[str, ...]:
    """Tags: several, or one text with ; or , or spaces between them; sorted, each once.

    Raises:
        ValueError: One is none.
    """
    given = re.split(r"[;,\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(tag, str) for tag in given):
        raise ValueError(f"tags is {value!r}; it takes texts")
    tags = sorted({tag for tag in given if tag})
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise ValueError(f"the tag {tag!r} is not 1 to 64 letters, digits and _ . : -")
    if len(tags) > MOST_TAGS:
        raise ValueError(f"there are {len(tags)} tags; {MOST_TAGS} are enough")
    return tuple(tags)
