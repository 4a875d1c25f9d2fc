"""Answers in pieces, on OpenAI's wire: passed on as they come, and put together for our own books.

The usage is asked for always, as every answer is priced by it; whoever did not ask for it is not shown the piece that
tells it. Facts: the official SDK's types, and what vLLM and OpenRouter send: comments to keep a connection open, an
`error` in the place of a piece.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from batchmill.providers.base import Listener
from batchmill.providers.connection import BrokenAnswerError, Exchange
from batchmill.requests.model import Endpoint
from batchmill.streams.events import CONTENT_TYPE, DONE, Event, EventReader
from batchmill.streams.whole import assembly_for

_INCLUDE_USAGE: Final = "include_usage"


def ask_for_pieces(endpoint: Endpoint, body: bytes, options: Mapping[str, Any]) -> bytes:
    """The body with the wish to be answered in pieces, which it must not have yet; its other bytes as they are.

    Args:
        options: The client's `stream_options`.
    """
    wish: dict[str, Any] = {"stream": True}
    if endpoint is not Endpoint.RESPONSES:
        wish["stream_options"] = {**options, _INCLUDE_USAGE: True}
    elif options:
        wish["stream_options"] = options
    rest = body.lstrip()[1:].lstrip()
    return b"".join((orjson.dumps(wish)[:-1], b"" if rest.startswith(b"}") else b",", rest))


class Stream:
    """One answer that comes in pieces.

    Attributes:
        exchange: For the connection that it comes by.
    """

    def __init__(self, endpoint: Endpoint, listener: Listener) -> None:
        self.exchange = Exchange(on_piece=self._feed)
        self._listener = listener
        self._reader = EventReader()
        self._assembly = assembly_for(endpoint)
        self._error: dict[str, Any] | None = None
        self._is_done = False

    def end(self) -> None:
        """Put in the place of the pieces the answer that they make, the error among them, or that they make none."""
        if not self._is_stream:
            return
        whole = self._error or self._assembly.whole()
        came_to_an_end = self._is_done or (self.exchange.body is not None and self._assembly.is_finished)
        if whole is not None and (self._error is not None or came_to_an_end):
            self.exchange.body, self.exchange.trouble = orjson.dumps(whole), None
        elif self.exchange.body is not None:
            self.exchange.body = None
            self.exchange.trouble = BrokenAnswerError("its stream ended in the middle of the answer")

    @property
    def _is_stream(self) -> bool:
        exchange = self.exchange
        return exchange.status == 200 and CONTENT_TYPE in exchange.headers.get("content-type", "")

    def _feed(self, piece: bytes) -> None:
        if self._is_stream:
            for event in self._reader.feed(piece):
                self._take(event)

    def _take(self, event: Event) -> None:
        if self._is_done or self._error is not None:
            return
        if event.data == DONE:
            self._is_done = True
            return
        said = _parsed(event.data)
        if said is None:
            if self._listener.has_begun:
                self._listener.hear(event.raw)
        elif said.get("type") == "error" or said.get("error"):
            self._error = said if said.get("error") else {"error": said}
        else:
            self._assembly.add(said)
            if not self._is_withheld(said):
                self._listener.hear(event.raw)
            if "response" in said and self._assembly.is_finished:
                self._is_done = True

    def _is_withheld(self, said: Mapping[str, Any]) -> bool:
        """Whether it is the piece that we have asked for, and the client has not."""
        is_usage = said.get("choices") == [] and said.get("usage") is not None
        return is_usage and self._listener.options.get(_INCLUDE_USAGE) is not True


def _parsed(data: bytes) -> dict[str, Any] | None:
    """What an event says; None for a comment, and for what is no JSON."""
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None
