"""A collector of traces: it receives what is sent by OTLP over HTTP, on loopback."""

import contextlib
import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True, kw_only=True)
class Collector:
    """What has been received.

    Attributes:
        url: Its base URL.
        posts: Path, headers and body of each post.
    """

    url: str
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def spans(self) -> list[Span]:
        """Every span, in the order in which they began."""
        requests = [ExportTraceServiceRequest.FromString(body) for _, _, body in self.posts]
        found = [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def services(self) -> set[str]:
        """Who has sent something."""
        requests = [ExportTraceServiceRequest.FromString(body) for _, _, body in self.posts]
        return {
            attributes(resource.resource)["service.name"]
            for request in requests
            for resource in request.resource_spans
        }


def attributes(told: Any) -> dict[str, Any]:
    """The attributes of a span or a resource, as Python has them."""
    return {one.key: _value(one.value) for one in told.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            told = {name.lower(): value for name, value in self.headers.items()}
            collector.posts.append((self.path, told, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
