"""What the client does, said once for both of its faces: a generator of steps that somebody else takes.

Such a generator yields a step, is sent what came of it, and returns its result. What went wrong is thrown into it where
it waits. So nothing but `transport.py` knows whether one waits or awaits.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import orjson

from batchmill.client.uploads import Upload

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request.

    Attributes:
        path: Below the service's address.
        query: Without those that are None.
        content: The body; an upload is read as it is sent.
        may_repeat: Whether asking twice does what asking once does.
    """

    method: str
    path: str
    query: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Upload | None = None
    may_repeat: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What HTTP answered.

    Attributes:
        headers: By name in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_good(self) -> bool:
        """Whether it is what was asked for."""
        return 200 <= self.status < 300

    def document(self) -> Any:
        """The body read as JSON.

        Raises:
            ValueError: It is none.
        """
        return orjson.loads(self.body)


class NotReachedError(Exception):
    """No connection was made: the service has seen nothing of the request."""


class LostError(Exception):
    """The connection failed, or was silent for too long: what the service did is not known."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; an `Answer` comes of it, or `NotReachedError` or `LostError`."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request whose answer is read in pieces; an `Opened` comes of it, or as of `Send`."""

    request: Request


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body comes in pieces; whoever takes the steps closes it at their end.

    Attributes:
        pieces: The iterator of them, of the kind that whoever takes the steps understands.
    """

    answer: Answer
    pieces: Any


@dataclass(frozen=True, slots=True)
class Read:
    """Read the next piece; bytes come of it, b"" at the end, or `LostError`."""

    opened: Opened


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hand one of many results over; only in a `Flow`."""

    value: T


Step = Send | Open | Read | Sleep
Steps = Generator[Step, Any, T]
"""Steps with one result, which they return."""

Flow = Generator[Step | Emit[T], Any, None]
"""Steps with many results, which they emit."""
