"""The cache keys of the lines of a batch: what each of them asks, and of whom."""

from dataclasses import replace

from batchmill.cache.keys import RequestKeys
from batchmill.cache.policy import may_share
from batchmill.requests.model import BatchOptions, RequestLine
from batchmill.routing.upstreams import Upstreams
from batchmill.routing.wants import dump_wants, load_wants, merged

_MOST_KEPT = 1_000


class LineKeys:
    """Makes the keys of the lines of one batch.

    A line for any model is another question where it wants other models: its answer is no answer to who wants better.
    """

    def __init__(self, options: BatchOptions, upstreams: Upstreams) -> None:
        self._options = options
        self._upstreams = upstreams
        self._wants = load_wants(options.routing)
        self._keys: dict[tuple[str, ...], RequestKeys] = {}

    def key(self, line: RequestLine) -> bytes | None:
        """The key of a line, as addressed; None when its answer may be neither taken from the cache nor shared."""
        if not may_share(line.body, self._options.cache, line.endpoint):
            return None
        kind: tuple[str, ...] = (line.endpoint, line.provider)
        if not line.provider:
            kind = (*kind, line.routing, line.request_type or self._options.request_type)
        keys = self._keys.get(kind)
        if keys is None:
            if len(self._keys) >= _MOST_KEPT:  # wishes and types come from producers: never without end
                self._keys.clear()
            keys = self._keys[kind] = RequestKeys(
                tenant=self._options.tenant, upstream=self._upstream(line), endpoint=line.endpoint
            )
        return keys.key(line.body)

    def _upstream(self, line: RequestLine) -> str:
        if line.provider:
            return self._upstreams.of(line.provider)
        wants = replace(merged(load_wants(line.routing), self._wants), fallback=())
        request_type = line.request_type or self._options.request_type
        return f"any of {self._upstreams.of_usable}\n{request_type}\n{dump_wants(wants)}"
