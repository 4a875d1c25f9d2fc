"""The service over real HTTP, in a thread of the test, and what asks it."""

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI

from api.app import make_app
from batchmill.settings import load_settings
from tests.support.clocks import PATIENCE_S
from tests.support.http_service import running
from workers.serving.service import Service, make_service

BOUNDARY = "----authorisation"
LINE = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def error(self) -> Any:
        """What went wrong, in OpenAI's shape."""
        return json.loads(self.body)["error"]


@dataclass(slots=True, kw_only=True)
class Site:
    """A running service, and keys of all kinds."""

    service: Service
    app: FastAPI
    port: int
    keys: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        body: bytes | Iterable[bytes] = b"{}",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; of an answer that goes on for ever only the head is read."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            shown = {"authorization": f"Bearer {key}"} if key is not None else {}
            told = {"content-type": "application/json"} | shown | (headers or {})
            connection.request(method, path, body if method != "GET" else None, told)
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            goes_on = given.get("content-type", "").startswith("text/event-stream")
            text = "" if goes_on else response.read().decode()
        return Answer(status=response.status, headers=given, body=text)

    def make_file(self, key: str | None, padding: str = "") -> str:
        """A new file of requests, of that key's tenant."""
        parts = (
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
            f"{json.dumps(LINE)}{padding}\n\r\n--{BOUNDARY}--\r\n"
        )
        kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self._made(self.ask("POST", "/v1/files", key, parts.encode(), kind))

    def make_batch(self, key: str | None) -> str:
        """A new batch, of that key's tenant."""
        return self._made(self.ask("POST", "/v1/batches", key, wanted(self.make_file(key))))

    @staticmethod
    def _made(answer: Answer) -> str:
        assert answer.status == 200, answer
        made: str = json.loads(answer.body)["id"]
        return made


def wanted(file: str) -> bytes:
    """What asks for a batch of that file."""
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return json.dumps(body).encode()


@contextmanager
def served(
    folder: Path, *, wants_keys: bool = True, more: APIRouter | None = None, **environ: str
) -> Iterator[Site]:
    """The service on a free port of this machine, for as long as the context lasts.

    Args:
        more: Routes of the test's own, beside the service's.
    """
    settings = load_settings({"BATCHMILL_HOME": str(folder / "home")} | environ, None)
    service = make_service(settings, wants_keys=wants_keys)
    with closing(service), socket.create_server(("127.0.0.1", 0)) as listener:
        app = make_app(service)
        if more is not None:
            app.include_router(more)
        config = uvicorn.Config(app, fd=listener.fileno(), log_config=None, lifespan="on")
        with running(uvicorn.Server(config)):
            yield Site(service=service, app=app, port=listener.getsockname()[1])
