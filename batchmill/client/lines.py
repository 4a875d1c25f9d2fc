"""Makes lines of OpenAI's batch format of whatever a producer calls a request."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

import orjson

from batchmill.errors import InputError, InvalidLinesError, MisuseError
from batchmill.requests.bodies import Question, compose
from batchmill.requests.checks import CONTENT
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.plain import read_plain_object

MADE_HERE = "a prompt, a plain dict with a prompt, the body of a call, or a line of OpenAI's batch format"


@dataclass(slots=True, kw_only=True)
class LineMaker:
    """Makes the lines of one batch.

    Attributes:
        endpoint: Which one all of them ask; None until the first line has said it.
        model: For those that name none.
        system_prompt: For prompts without one.
        count: How many lines there are so far.
    """

    endpoint: Endpoint | None = None
    model: str = ""
    system_prompt: str = ""
    count: int = 0

    def line(self, request: object) -> bytes:
        """The line of one request.

        Raises:
            InvalidLinesError: It is no request; the message says which one, and why.
        """
        self.count += 1
        line = self._as_line(request)
        self.endpoint = self.endpoint or _endpoint_of(line.get("url"))
        return self._as_json(line, request) + b"\n"

    def made(self, request: RequestLine) -> bytes:
        """The line of one that was read from a file."""
        self.count += 1
        self.endpoint = self.endpoint or request.endpoint
        return orjson.dumps(_as_openai(request), option=orjson.OPT_APPEND_NEWLINE)

    def finish(self) -> None:
        """All requests have been read.

        Raises:
            InputError: There was none.
        """
        if not self.count:
            raise InputError("there are no requests to submit", "hand over one at least")

    def _as_line(self, request: object) -> Mapping[str, Any]:
        if isinstance(request, str):
            return self._of_prompt(request)
        if not isinstance(request, Mapping):
            raise self._bad(request, f"a request is {MADE_HERE}; this is {type(request).__name__}")
        if "custom_id" in request or "body" in request:
            return self._completed(request)
        if "messages" in request or "input" in request:
            return self._of_body(request)
        if "prompt" in request:
            return self._of_plain(request)
        has = ", ".join(map(str, request)) or "nothing"
        raise self._bad(request, f"a request is {MADE_HERE}; this one has {has}")

    def _of_prompt(self, prompt: str) -> Mapping[str, Any]:
        if not self.model:
            raise self._bad(
                prompt, 'nothing says which model to ask; model="auto" leaves the choice to the service'
            )
        if not prompt.strip():
            raise self._bad(prompt, "it is empty")
        endpoint = self.endpoint or Endpoint.CHAT
        question = Question(model=self.model, prompt=prompt, system_prompt=self.system_prompt)
        return _line(str(self.count), endpoint, compose(endpoint, question))

    def _of_plain(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        endpoint = self.endpoint or Endpoint.CHAT
        defaults = {"id": str(self.count), "model": self.model, "system_prompt": self.system_prompt}
        parsed = orjson.loads(self._as_json(given, given))
        read = list(read_plain_object(self.count, parsed, endpoint, defaults))
        faults = [one for one in read if isinstance(one, LineError)]
        if faults:
            raise self._bad(given, " ".join(fault.message for fault in faults))
        return _as_openai(cast(RequestLine, read[0]))

    def _of_body(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        endpoint = self.endpoint or (Endpoint.CHAT if "messages" in body else None)
        if endpoint is None:
            raise self._bad(
                body, 'nothing says which endpoint to ask; give endpoint="/v1/embeddings", for instance'
            )
        if CONTENT[endpoint][0] not in body:
            raise self._bad(body, f"{endpoint} wants {CONTENT[endpoint][0]!r}")
        named = dict(self._with_model(body))
        name = named.pop("id", self.count)  # no endpoint has a field of that name
        return _line(str(name), endpoint, named)

    def _completed(self, line: Mapping[str, Any]) -> Mapping[str, Any]:
        """A line of OpenAI's format, with what it leaves out; what it says stays as it is, right or wrong."""
        whole = dict(line)
        whole.setdefault("custom_id", str(self.count))
        whole.setdefault("method", "POST")
        whole.setdefault("url", (self.endpoint or Endpoint.CHAT).value)
        if isinstance(whole.get("body"), Mapping):
            whole["body"] = self._with_model(whole["body"])
        return whole

    def _with_model(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return body if not self.model or body.get("model") else {**body, "model": self.model}

    def _as_json(self, value: object, request: object) -> bytes:
        try:
            written = orjson.dumps(value)
        except TypeError as error:
            raise self._bad(request, f"it cannot be written as JSON: {error}") from error
        if b"null" in written and _has_no_number(value):
            raise self._bad(request, "it cannot be written as JSON: NaN and infinity are no numbers there")
        return written

    def _bad(self, request: object, why: str) -> InvalidLinesError:
        name = request.get("custom_id", request.get("id")) if isinstance(request, Mapping) else None
        named = f" ({name!r})" if isinstance(name, str | int) else ""
        return InvalidLinesError(f"request {self.count}{named}: {why}", "nothing was submitted; correct it")


@dataclass(slots=True, kw_only=True)
class RequestSource:
    """Requests that a producer holds, or makes while they are sent.

    Attributes:
        may_repeat: They are a list, so to speak, not a generator that is used up.
    """

    requests: Iterable[object] | AsyncIterable[object]
    maker: LineMaker

    @property
    def may_repeat(self) -> bool:
        return not isinstance(self.requests, Iterator | AsyncIterator)

    def pieces(self) -> Iterator[bytes] | AsyncIterator[bytes]:
        """The lines. Each pass begins anew."""
        self.maker.count = 0
        if isinstance(self.requests, Iterable):
            return _lines(self.requests, self.maker)
        return _lines_async(self.requests, self.maker)


def endpoint_named(name: str | None) -> Endpoint | None:
    """The endpoint of that name.

    Raises:
        MisuseError: There is none.
    """
    if name is None:
        return None
    endpoint = _endpoint_of(name)
    if endpoint is None:
        raise MisuseError(f"there is no endpoint {name!r}", f"it is one of {', '.join(Endpoint)}")
    return endpoint


def _lines(requests: Iterable[object], maker: LineMaker) -> Iterator[bytes]:
    for request in requests:
        yield maker.line(request)
    maker.finish()


async def _lines_async(requests: AsyncIterable[object], maker: LineMaker) -> AsyncIterator[bytes]:
    async for request in requests:
        yield maker.line(request)
    maker.finish()


def _has_no_number(value: object) -> bool:
    """Whether there is a NaN or an infinity in it, which orjson would write as null."""
    if isinstance(value, float):
        return not isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_no_number, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_no_number, value))


def _endpoint_of(url: object) -> Endpoint | None:
    return Endpoint(url) if isinstance(url, str) and url in list(Endpoint) else None


def _as_openai(request: RequestLine) -> dict[str, Any]:
    line = _line(request.custom_id, request.endpoint, request.body)
    if request.request_type:
        line["type"] = request.request_type
    if request.routing:
        line["routing"] = orjson.Fragment(request.routing)
    return line


def _line(custom_id: str, endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": endpoint.value, "body": body}
