"""What vendors' rules are made of: faults of one example, limits of a whole file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchmill.tokens.count import count_text

MB = 1_000_000
GB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """What holds of a whole file.

    Attributes:
        least_lines: Fewer are refused.
        most_lines: More are refused; None = as many as the file's size lets through.
        most_bytes: Largest file.
        most_tokens: Of one example; None = nothing is said.
        most_validation: Lines of a file for validation; None = as many as for training.
        source: Where the vendor says so.
    """

    least_lines: int = 1
    most_lines: int | None = None
    most_bytes: int | None = None
    most_tokens: int | None = None
    most_validation: int | None = None
    source: str = ""


def size_faults(example: Any, texts: Iterator[str], rules: FileRules) -> Iterator[str]:
    """An example that is longer than it may be; counted only where it may be, as a token has a byte at least."""
    if rules.most_tokens is None or len(orjson.dumps(example)) <= rules.most_tokens:
        return
    tokens = sum(count_text("gpt-4o", text).tokens for text in texts)
    if tokens > rules.most_tokens:
        yield f"it has about {tokens:,} tokens, at most {rules.most_tokens:,} are trained on"


def unknown_members(value: Mapping[str, Any], known: frozenset[str], what: str) -> Iterator[str]:
    """Members that the vendor has no word for."""
    for name in value:
        if name not in known:
            yield f'{what} has a member "{name}", which the format does not know'


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)
