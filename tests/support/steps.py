"""Takes a client's steps without any wire: each is answered by a script."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from batchmill.client.steps import Answer, Emit, Open, Opened, Read, Send, Sleep, Step


class Script:
    """Answers steps in turn.

    Args:
        answers: What comes of each `Send`, `Open` and `Read`; an exception is thrown.

    Attributes:
        asked: Every request, as "GET /v1/...".
        slept: Every pause.
        emitted: Every result.
    """

    def __init__(self, answers: Iterable[Any], on_sleep: Callable[[float], None] = lambda _: None) -> None:
        self._answers = iter(answers)
        self._on_sleep = on_sleep
        self.requests: list[Any] = []
        self.slept: list[float] = []
        self.emitted: list[Any] = []

    @property
    def asked(self) -> list[str]:
        """What was requested."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def play(self, steps: Any) -> Any:
        """Take the steps to their end; what they return."""
        came: Any = None
        try:
            while True:
                step = steps.throw(came) if isinstance(came, Exception) else steps.send(came)
                came = self._came(step)
        except StopIteration as end:
            return end.value

    def _came(self, step: "Step | Emit[Any]") -> Any:
        match step:
            case Emit(value):
                self.emitted.append(value)
                return None
            case Sleep(seconds):
                self.slept.append(seconds)
                self._on_sleep(seconds)
                return None
            case Send(request):
                self.requests.append(request)
                return next(self._answers)
            case Open(request):
                self.requests.append(request)
                answer = next(self._answers)
                return Opened(answer, None) if isinstance(answer, Answer) else answer
            case Read():
                return next(self._answers)


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> Answer:
    """An answer; underscores in the names of headers are dashes."""
    return Answer(
        status=status,
        body=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def error(status: int, message: str = "No.", code: str | None = None, **headers: str) -> Answer:
    """An error in OpenAI's shape."""
    told = {"error": {"message": message, "type": "x", "param": None, "code": code}}
    return answer(status, orjson.dumps(told), **headers)
