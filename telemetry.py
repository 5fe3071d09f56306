"""Logs, metrics and traces of a process: structlog behind the standard library, OpenTelemetry.

Packages log with structlog or `logging` and count with `opentelemetry.metrics`; what becomes of it
is decided here. Temporal's core keeps its own metrics and serves them on a loopback port: reading
them there costs nothing per update, which draining its buffer into Python would.
"""

import asyncio
import functools
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from http.client import HTTPConnection, HTTPException
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.client import Interceptor
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
)

from activities.masking import mask_log
from schemas.run import RunStart, RunState
from settings import Settings
from settings_ai import reveal
from workflows.gateway import Gateway

if TYPE_CHECKING:
    from activities import _otlp

_LOOPBACK = "127.0.0.1"
_PORT_TRIES = 20
# Seconds: HTTP requests of an API whose slowest promise is 2 s.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
# What monitoring asks all the time.
_UNTRACED = frozenset(("/healthz", "/readyz", "/metrics"))
_INCOMING = TraceContextTextMapPropagator()


def _drop_colours(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    # uvicorn's copy of its message with escape codes.
    event.pop("color_message", None)
    return event


def _add_trace(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event


def configure_logging(settings: Settings) -> None:
    """Send every logger of this process, ours and the libraries', to stderr in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=str)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.PositionalArgumentsFormatter()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _drop_colours,
                mask_log,
                settings.masking,
                _add_trace,
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # Our middleware logs each request once, with its id; these would repeat it.
    for name in ("uvicorn.access", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


@functools.cache
def _meter() -> metrics.Meter:
    """Install the process's meter provider, once, and give our meter."""
    provider = MeterProvider(
        resource=Resource.create({"service.name": "sojourn"}),
        metric_readers=[PrometheusMetricReader(scope_info_enabled=False)],
        views=[
            View(
                instrument_name="sojourn.api.request.duration",
                aggregation=ExplicitBucketHistogramAggregation(_BUCKETS),
            )
        ],
    )
    metrics.set_meter_provider(provider)
    return provider.get_meter("sojourn")


class Telemetry:
    """The metrics of one process: Temporal's runtime, and the text that `/metrics` answers with."""

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        """Start Temporal's runtime; raises RuntimeError if no loopback port can be had.

        With a `tracer` each request makes a span.
        """
        self.tracer = tracer
        meter = _meter()
        self.runs_started = meter.create_counter(
            "sojourn.runs.started", description="Runs handed to Temporal by this process."
        )
        self.request_duration = meter.create_histogram(
            "sojourn.api.request.duration", unit="s", description="Time to the end of the answer."
        )
        self.runtime, self._port = _start_runtime()

    def render(self) -> bytes:
        """Give Temporal's metrics and ours as one Prometheus text; blocks for milliseconds."""
        return generate_latest() + self._core()

    def _core(self) -> bytes:
        connection = HTTPConnection(_LOOPBACK, self._port, timeout=1.0)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read()
        except (OSError, HTTPException) as error:
            logging.getLogger(__name__).warning("Temporal's metrics cannot be read: %s", error)
            return b""
        finally:
            connection.close()


def _start_runtime() -> tuple[Runtime, int]:
    # The core tells no port for address :0, so one is chosen here, and another if it is lost.
    import socket

    failure: Exception | None = None
    for _ in range(_PORT_TRIES):
        with socket.socket() as probe:
            probe.bind((_LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        config = TelemetryConfig(
            logging=LoggingConfig(
                filter=LoggingConfig.default.filter,
                forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
            ),
            metrics=PrometheusConfig(
                bind_address=f"{_LOOPBACK}:{port}",
                counters_total_suffix=True,
                unit_suffix=True,
                durations_as_seconds=True,
            ),
        )
        try:
            return Runtime(telemetry=config), port
        except (RuntimeError, ValueError) as error:
            failure = error
    raise RuntimeError(f"Temporal's metrics found no port: {failure}")


class MeteredGateway(Gateway):
    """A gateway that counts the runs it starts."""

    def __init__(self, telemetry: Telemetry, *args: Any, **kwargs: Any) -> None:
        """Build the gateway and count into `telemetry`."""
        super().__init__(*args, **kwargs)
        self._started = telemetry.runs_started

    async def start(
        self, start: RunStart, *, priority: int = 3, state: RunState | None = None
    ) -> str:
        """Start a run as `Gateway.start` does."""
        run_id = await super().start(start, priority=priority, state=state)
        self._started.add(1, {"definition": start.definition.name})
        return run_id


class MeteringMiddleware:
    """Measures each request by method, route template and status; a template never holds an id.

    Where requests are traced, each is a span in the trace of the caller's `traceparent`.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        """Wrap `app`."""
        self.app = app
        self._duration = telemetry.request_duration
        self._tracer = telemetry.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        started = perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._span(scope) as span:
            try:
                await self.app(scope, receive, watched)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                labels = {"method": scope["method"], "route": route, "status": str(status)}
                self._duration.record(perf_counter() - started, labels)
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(trace.StatusCode.ERROR)

    def _span(self, scope: Scope) -> AbstractContextManager[trace.Span]:
        if self._tracer is None or scope["path"] in _UNTRACED:
            return nullcontext(trace.INVALID_SPAN)
        headers = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"]}
        return self._tracer.start_as_current_span(
            scope["method"], context=_INCOMING.extract(headers), kind=trace.SpanKind.SERVER
        )


class Otlp:
    """What a process pushes over OTLP/HTTP, where `OTEL_EXPORTER_OTLP_ENDPOINT` says where to.

    Without it nothing is imported, started or sent.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        """Build what pushes for the process `sojourn-{name}`; nothing is sent yet."""
        self._push: _otlp.Push | None = None
        if settings.otel_exporter_otlp_endpoint is not None:
            from activities._otlp import Push

            self._push = Push(
                settings.otel_exporter_otlp_endpoint,
                reveal(settings.otel_exporter_otlp_headers) or "",
                f"sojourn-{name}",
                every=settings.otel_metric_export_interval / 1000,
            )

    @property
    def tracer(self) -> trace.Tracer | None:
        """What makes spans; None where nothing is pushed."""
        return None if self._push is None else self._push.tracer

    @property
    def interceptors(self) -> list[Interceptor]:
        """What carries traces through Temporal: from its client to runs and their actions."""
        return [] if self._push is None else [self._push.interceptor]

    @asynccontextmanager
    async def pushing(self, page: Callable[[], Awaitable[bytes]]) -> AsyncIterator[None]:
        """Push the Prometheus text of `page` and all spans while the block runs, and at its end."""
        if self._push is None:
            yield
            return
        running = asyncio.create_task(self._push.run(page))
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await self._push.close(page)
