"""A client of the service that knows nothing of it but HTTP, and goes on when it is killed in between."""

import hashlib
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, TypeVar

from tests.support.mill import PATIENCE_S, Mill, wait_until
from tests.support.ports import free_port

T = TypeVar("T")
BOUNDARY = "xXxXx"
ENDED = ("completed", "failed", "expired", "cancelled")


def form_of(data: bytes, *, purpose: str = "batch", filename: str = "in.jsonl") -> bytes:
    """An upload as it goes over the wire."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClient:
    """A producer.

    Attributes:
        url: Where the service is.
        patience_s: How long one that does not answer is asked again.
    """

    url: str
    token: str = ""
    patience_s: float = 0.0

    def upload(self, data: bytes, **told: str) -> dict[str, Any]:
        """A file."""
        headers = {
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
            "idempotency-key": secrets.token_hex(8),
        }
        return self._json("POST", "/v1/files", form_of(data, **told), headers)

    def create(self, file: str, **asked: Any) -> dict[str, Any]:
        """A batch of it."""
        wanted = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        headers = {"content-type": "application/json", "idempotency-key": secrets.token_hex(8)}
        return self._json("POST", "/v1/batches", json.dumps(wanted | asked).encode(), headers)

    def batch(self, name: str) -> dict[str, Any]:
        """How a batch gets on."""
        return self._json("GET", f"/v1/batches/{name}")

    def cancel(self, name: str) -> dict[str, Any]:
        """End it early."""
        return self._json("POST", f"/v1/batches/{name}/cancel")

    def ended(self, name: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """A batch once it has ended."""
        wait_until(lambda: self.batch(name)["status"] in ENDED, within_s, every_s=0.2)
        return self.batch(name)

    def content(self, file: str) -> bytes:
        """What is in a file."""
        return self._asked("GET", f"/v1/files/{file}/content")

    def lines(self, file: str) -> list[dict[str, Any]]:
        """The lines of a file."""
        return [json.loads(line) for line in self.content(file).splitlines()]

    def _json(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._asked(method, path, body, headers))
        return told

    def _asked(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        bearer = {"authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(
            self.url + path, data=body, headers=(headers or {}) | bearer, method=method
        )

        def ask() -> bytes:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return bytes(response.read())

        return _again(ask, self.patience_s)


def _again(ask: Callable[[], T], patience_s: float) -> T:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except urllib.error.HTTPError as error:
            with error:
                said = f"{error.code}: {error.read().decode()}"
            may_pass = error.code >= 500 or "being answered at this moment" in said
            if not may_pass or time.monotonic() > deadline:
                raise AssertionError(said) from error
        except (OSError, HTTPException):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def sha256(data: bytes) -> str:
    """A hash, in hex."""
    return hashlib.sha256(data).hexdigest()


def start_service(mill: Mill, *arguments: str, command: str = "up", port: int | None = None) -> HttpClient:
    """Start `batchmill up`, or another command that serves, and wait until it answers; a client of it."""
    port = port or free_port()
    process = mill.start(command, "--port", str(port), *arguments)
    client = HttpClient(url=f"http://127.0.0.1:{port}")
    deadline = time.monotonic() + PATIENCE_S
    while not _lives(client.url):
        if process.poll() is not None:
            raise AssertionError(f"it ended: {process.communicate()[1]}")
        assert time.monotonic() < deadline, "it does not answer"
        time.sleep(0.05)
    return client


def _lives(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/live", timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, HTTPException):
        return False


def names(lines: Iterable[dict[str, Any]]) -> list[str]:
    """Whose lines they are."""
    return [line["custom_id"] for line in lines]
