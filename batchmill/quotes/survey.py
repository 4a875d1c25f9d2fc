"""Surveys the requests of a batch before anything is asked: which of them are answered already."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import orjson

from batchmill.cache.lines import LineKeys
from batchmill.quotes.crew import Crew
from batchmill.quotes.seen import Seen
from batchmill.quotes.tally import Question
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, RequestLine

CHUNK = 2_000
CHUNK_BYTES = 32_000_000

FindHits = Callable[[Collection[str]], Collection[str]]
"""Of these cache keys, those that have an answer now."""


class _Request(NamedTuple):
    model: str
    request_type: str
    endpoint: Endpoint
    body: bytes
    key: bytes | None


class Survey:
    """Surveys the requests of one batch; holds some thousand of them at a time.

    Args:
        crew: Tallies what is found.
        as_model: Survey them as if each asked this model; "" takes its own.
    """

    def __init__(
        self, options: BatchOptions, *, crew: Crew, find_hits: FindHits, keys: LineKeys, as_model: str = ""
    ) -> None:
        self.crew = crew
        self._options = options
        self._as_model = as_model
        # `refresh` takes nothing that was answered before.
        self._find_hits = find_hits if options.cache is not CacheMode.REFRESH else lambda _: ()
        self._seen = Seen()
        self._keys = keys
        self._chunk: list[_Request] = []
        self._chunk_bytes = 0

    def add(self, line: RequestLine) -> None:
        """Add a line."""
        if self._as_model:
            line = line._replace(model=self._as_model, body={**line.body, "model": self._as_model})
        body, model = line.body, line.model
        key = self._keys.key(line)
        raw = orjson.dumps(body)
        request_type = line.request_type or self._options.request_type
        self._chunk.append(_Request(model, request_type, line.endpoint, raw, key))
        self._chunk_bytes += len(raw)
        if len(self._chunk) >= CHUNK or self._chunk_bytes >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Have tallied what has been added; to be called at the end."""
        chunk, self._chunk, self._chunk_bytes = self._chunk, [], 0
        keys = {request.key.hex() for request in chunk if request.key is not None}
        hits = self._find_hits(keys) if keys else ()
        if chunk:
            self.crew.tally([self._question(request, hits) for request in chunk])

    def _question(self, request: _Request, hits: Collection[str]) -> Question:
        model, request_type, endpoint, body, key = request
        is_repeat = key is not None and self._seen.add(int.from_bytes(key[:8], "little"))
        is_hit = bool(hits) and key is not None and key.hex() in hits
        return Question(model, request_type, endpoint, body, is_hit, is_repeat)
