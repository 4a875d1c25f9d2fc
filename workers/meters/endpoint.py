"""A worker's `GET /metrics`: answered by its first process, for all that it has forked."""

import hmac
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from pydantic import SecretStr

from batchmill.errors import ConflictError, SettingsError
from batchmill.settings.metrics import MetricsSettings

PATH = "/metrics"
PATIENCE_S = 5.0


class Endpoint:
    """Listens from now on, and answers once started.

    Args:
        tell: What is told, as Prometheus reads it.

    Raises:
        SettingsError: Others could reach it, and there is no token that they have to show.
        ConflictError: It cannot listen there.
    """

    def __init__(self, settings: MetricsSettings, port: int, tell: Callable[[], bytes]) -> None:
        if not settings.is_local and settings.token is None:
            raise SettingsError(
                f"BATCHMILL_METRICS_HOST is {settings.host}, where others could read the metrics,"
                " and BATCHMILL_METRICS_TOKEN is not set",
                "set it to what Prometheus shows as its bearer, for example what openssl rand -hex 32 prints",
            )
        try:
            self._server = _Server(settings.host, port, _handler(tell, settings.token))
        except OSError as error:
            raise ConflictError(
                f"metrics cannot be told at {settings.host}:{port}: {error.strerror or error}",
                "name another port with --metrics-port or BATCHMILL_METRICS_PORT; each worker needs its own",
            ) from error

    def start(self) -> None:
        """Answer, in a thread of its own."""
        threading.Thread(target=self._server.serve_forever, daemon=True, name="metrics").start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Called in a forked process: the address is its parent's alone, so that it is free when that has gone."""
        self._server.socket.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Without the base's look-up of this machine's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


def _handler(tell: Callable[[], bytes], token: SecretStr | None) -> type[BaseHTTPRequestHandler]:
    expected = None if token is None else f"Bearer {token.get_secret_value()}".encode()

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._answer(HTTPStatus.NOT_FOUND, b"Only GET /metrics is answered here.\n")
            elif expected is not None and not hmac.compare_digest(self._shown(), expected):
                self._answer(HTTPStatus.UNAUTHORIZED, b"Show BATCHMILL_METRICS_TOKEN as a bearer.\n")
            else:
                self._answer(HTTPStatus.OK, tell(), CONTENT_TYPE_LATEST)

        def _shown(self) -> bytes:
            return self.headers.get("authorization", "").encode("utf-8", "replace")

        def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status is HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", "Bearer")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are no news."""

    return Handler


def text_of(collector: Collector) -> bytes:
    """What a collector tells, as Prometheus reads it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
