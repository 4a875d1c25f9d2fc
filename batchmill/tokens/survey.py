"""Counts the tokens of a whole input, model by model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from batchmill.requests.model import LineError, RequestLine
from batchmill.tokens.count import count_request


@dataclass(slots=True, kw_only=True)
class Tally:
    """The input tokens of some requests.

    Attributes:
        is_exact: False as soon as one of the counts is an estimate.
    """

    lines: int = 0
    tokens: int = 0
    is_exact: bool = True

    def add(self, *, lines: int, tokens: int, is_exact: bool) -> None:
        """Add more of them."""
        self.lines += lines
        self.tokens += tokens
        self.is_exact &= is_exact


def survey(
    lines: Iterable[RequestLine | LineError], *, on_bad_line: Callable[[LineError], None], model: str = ""
) -> tuple[dict[str, Tally], set[int | None]]:
    """The tallies by model, in order of first appearance, and the numbers of bad lines. Holds one line at a time.

    Args:
        on_bad_line: Told of every fault.
        model: Count every line as for this model; "" takes the line's own.
    """
    tallies: dict[str, Tally] = {}
    bad: set[int | None] = set()
    for line in lines:
        if isinstance(line, LineError):
            bad.add(line.line)
            on_bad_line(line)
            continue
        name = model or line.model
        counted = count_request(name, line.endpoint, line.body)
        tallies.setdefault(name, Tally()).add(lines=1, tokens=counted.tokens, is_exact=counted.is_exact)
    return tallies, bad
