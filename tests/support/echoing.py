"""A provider that gives away what it was told: every answer repeats the headers of its request."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.ports import free_port
from tests.support.provider_servers import WHOLE, http
from tests.support.receivers import served

FAULTS = ("400", "500", "429", "200-error", "200-garbled", "answered")
"""What it does with a request for a model of that name; anything else is an account that is blocked."""


SECRET_HEADERS = ("authorization", "x-api-key", "x-goog-api-key")


@dataclass(slots=True, kw_only=True)
class Echo:
    """Such a server, and what it has heard.

    Attributes:
        heard: The heads of all requests, one after the other.
    """

    url: str
    heard: list[str] = field(default_factory=list)
    _throttled: int = 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes over a connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heard.append(head)
                lines = head.lower().split("\r\n")
                length = sum(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
                body = await reader.readexactly(length)
                model = _model_of(lines[0], body)
                if model == "429":  # every other call, as one that is throttled is made again for ever
                    self._throttled += 1
                    model = "429" if self._throttled % 2 else "answered"
                writer.write(_answer(head, model))
                await writer.drain()
        writer.close()


@contextlib.contextmanager
def echoing() -> Iterator[Echo]:
    """One on a free port for as long as the context lasts."""
    port = free_port()
    echo = Echo(url=f"http://127.0.0.1:{port}/v1")
    with served(lambda: asyncio.start_server(echo.meet, "127.0.0.1", port)):
        yield echo


def _model_of(request_line: str, body: bytes) -> str:
    """Whom a request asks: Gemini's has it in its address, those of the others in their bodies."""
    if found := re.search(r"/models/([^:/ ]+):", request_line):
        return found[1]
    return str(json.loads(body)["model"]) if body else ""


def _answer(head: str, model: str) -> bytes:
    told = head.replace("\r\n", "; ")
    secret = next((line for line in head.split("\r\n") if line.lower().startswith(SECRET_HEADERS)), "")
    tells = (f"x-request-id: {secret}", f"x-debug: {secret}")
    error = {"message": f"I was told: {told}", "type": "server_error", "code": f"because {secret}"}
    as_json = json.dumps({"error": error, "headers": head.split("\r\n")}).encode()
    page = f"<html><title>Proxy</title><body><pre>{head}</pre></body></html>".encode()
    match model:
        case "400":
            return http(400, as_json, *tells)
        case "500":
            return http(500, page, *tells)
        case "429":
            return http(429, as_json, *tells, "retry-after: 0")
        case "200-error":
            return http(200, as_json, *tells)
        case "200-garbled":
            return http(200, page, *tells)
        case "answered":
            return http(200, WHOLE, *tells)
    return http(401, as_json, *tells)
