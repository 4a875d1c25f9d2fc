"""Surveys the requests of a batch before anything is asked: which of them are answered already."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import orjson

from batchmill.cache.lines import LineKeys
from batchmill.quotes.crew import Crew
from batchmill.quotes.destinations import Destinations, Placed
from batchmill.quotes.seen import Seen
from batchmill.quotes.tally import Question
from batchmill.requests.model import BatchOptions, CacheMode, LineError, RequestLine

CHUNK = 2_000
CHUNK_BYTES = 32_000_000

FindHits = Callable[[Collection[str]], Collection[str]]
"""Of these cache keys, those that have an answer now."""


class _Request(NamedTuple):
    question: Question
    keys: tuple[bytes, ...]


class Survey:
    """Surveys the requests of one batch; holds some thousand of them at a time.

    Args:
        crew: Tallies what is found.
        destinations: Know whom a line would be put to.
    """

    def __init__(
        self,
        options: BatchOptions,
        *,
        crew: Crew,
        find_hits: FindHits,
        keys: LineKeys,
        destinations: Destinations,
    ) -> None:
        self.crew = crew
        self._options = options
        self._destinations = destinations
        # `refresh` takes nothing that was answered before.
        self._find_hits = find_hits if options.cache is not CacheMode.REFRESH else lambda _: ()
        self._seen = Seen()
        self._keys = keys
        self._chunk: list[_Request] = []
        self._chunk_bytes = 0

    def place(self, line: RequestLine) -> Placed | LineError:
        """Where a line goes; or why it cannot go anywhere."""
        return self._destinations.place(line)

    def add(self, placed: Placed) -> None:
        """Add a line."""
        question = question_about(placed, self._options)
        self._chunk.append(_Request(question, self._keys_of(placed)))
        self._chunk_bytes += len(question.body)
        if len(self._chunk) >= CHUNK or self._chunk_bytes >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Have tallied what has been added; to be called at the end."""
        chunk, self._chunk, self._chunk_bytes = self._chunk, [], 0
        keys = {key.hex() for request in chunk for key in request.keys}
        hits = self._find_hits(keys) if keys else ()
        if chunk:
            self.crew.tally([self._question(request, hits) for request in chunk])

    def _keys_of(self, placed: Placed) -> tuple[bytes, ...]:
        """What a line is known by in the cache: its own key first; one for any model takes what its choice said too."""
        lines = (placed.line,) if placed.line.provider else (placed.line, placed.asked)
        return tuple(key for line in lines if (key := self._keys.key(line)) is not None)

    def _question(self, request: _Request, hits: Collection[str]) -> Question:
        question, keys = request
        is_repeat = bool(keys) and self._seen.add(int.from_bytes(keys[0][:8], "little"))
        is_hit = bool(hits) and any(key.hex() in hits for key in keys)
        return question._replace(is_hit=is_hit, is_repeat=is_repeat) if is_hit or is_repeat else question


def question_about(placed: Placed, options: BatchOptions) -> Question:
    """What is asked by a line of a batch, as if it was never answered or asked before."""
    asked = placed.asked
    return Question(
        asked.provider,
        asked.model,
        asked.request_type or options.request_type,
        asked.endpoint,
        orjson.dumps(asked.body),
        is_hit=False,
        is_repeat=False,
        others=placed.others,
    )
