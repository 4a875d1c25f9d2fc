"""Both faces of the client, driven alike: what blocks and what is awaited."""

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

from batchmill import AsyncClient, Client


class Face:
    """A client that is used as if it blocked, whichever it is."""

    def __init__(self, client: Client | AsyncClient, runner: asyncio.Runner) -> None:
        self.client = client
        self._runner = runner

    def do(self, act: Callable[[Any], Any]) -> Any:
        """What comes of an act on the client, a batch, whatever it is given."""

        async def awaited() -> Any:
            came = act(self.client)
            if isawaitable(came):
                return await came
            return [value async for value in came] if isinstance(came, AsyncIterable) else came

        if isinstance(self.client, AsyncClient):
            return self._runner.run(awaited())
        came = act(self.client)
        return list(came) if isinstance(came, Iterator) else came

    def all(self, act: Callable[[Any], Any]) -> list[Any]:
        """All that an iterator gives."""
        came = self.do(act)
        assert isinstance(came, list)
        return came


@contextmanager
def face_of(kind: str, *arguments: Any, **options: Any) -> Iterator[Face]:
    """A client of that kind, closed at the end."""
    with asyncio.Runner() as runner:
        client = Client(*arguments, **options) if kind == "blocking" else AsyncClient(*arguments, **options)
        face = Face(client, runner)
        try:
            yield face
        finally:
            face.do(lambda client: client.close())
