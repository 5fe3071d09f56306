"""A receiver of OTLP over HTTP on loopback, which decodes what arrives and keeps it."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


@dataclass
class Receiver:
    """What came: the requests by path, their headers, and their bytes."""

    requests: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def metrics(self, service: str) -> dict[str, Any]:
        """The last metrics of a service by their names."""
        found: dict[str, Any] = {}
        for path, request in list(self.requests):
            if path == "/v1/metrics":
                for each in request.resource_metrics:
                    if _service(each) == service:
                        found |= {one.name: one for s in each.scope_metrics for one in s.metrics}
        return found

    def spans(self) -> Iterator[tuple[str, Any]]:
        """Every span with the name of its service."""
        for path, request in list(self.requests):
            if path == "/v1/traces":
                for each in request.resource_spans:
                    for scope in each.scope_spans:
                        for span in scope.spans:
                            yield _service(each), span

    @contextmanager
    def serving(self) -> "Iterator[Receiver]":
        """Listen in a thread until the block ends; gives itself."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                message = KINDS[self.path]()
                message.ParseFromString(body)
                receiver.raw.append(body)
                receiver.headers.append(dict(self.headers))
                receiver.requests.append((self.path, message))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_port
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def _service(resource: Any) -> str:
    values = {one.key: one.value.string_value for one in resource.resource.attributes}
    return values["service.name"]


def labelled(point: Any) -> dict[str, str]:
    """The attributes of a data point or a span, texts alone."""
    return {one.key: one.value.string_value for one in point.attributes}
