"""Logs and metrics of a process: structlog behind the standard library, OpenTelemetry meters.

Packages log with structlog or `logging` and count with `opentelemetry.metrics`; what becomes of it
is decided here. Temporal's core keeps its own metrics and serves them on a loopback port: reading
them there costs nothing per update, which draining its buffer into Python would.
"""

import functools
import logging
import sys
from collections.abc import MutableMapping
from http.client import HTTPConnection, HTTPException
from time import perf_counter
from typing import Any

import structlog
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
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
from workflows.gateway import Gateway

_LOOPBACK = "127.0.0.1"
_PORT_TRIES = 20
# Seconds: HTTP requests of an API whose slowest promise is 2 s.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


def _drop_colours(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    # uvicorn's copy of its message with escape codes.
    event.pop("color_message", None)
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

    def __init__(self) -> None:
        """Start Temporal's runtime; raises RuntimeError if no loopback port can be had."""
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
    """Measures each request by method, route template and status; a template never holds an id."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        """Wrap `app`."""
        self.app = app
        self._duration = telemetry.request_duration

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

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            labels = {"method": scope["method"], "route": route, "status": str(status)}
            self._duration.record(perf_counter() - started, labels)
