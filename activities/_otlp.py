"""Pushing metrics and traces over OTLP/HTTP; imported only where a receiver is set.

Metrics are the Prometheus text that `/metrics` answers with: what is pushed and what is scraped are
the same series under the same names, Temporal's own among them.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from threading import Thread
from uuid import uuid4

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Status
from opentelemetry.util.re import parse_env_headers
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from temporalio.contrib.opentelemetry import TracingInterceptor

# Seconds that a stop waits for the last push.
LAST = 3.0
Page = Callable[[], Awaitable[bytes]]
_SCOPE = InstrumentationScope("sojourn")
_log = structlog.get_logger(__name__)


class Push:
    """The exporters of one process, and what makes spans for them."""

    def __init__(self, endpoint: str, headers: str, name: str, *, every: float) -> None:
        """Send nothing yet; `headers` is a list `name=value,…`, `every` is in seconds."""
        given = parse_env_headers(headers, liberal=True)
        base = endpoint.rstrip("/")
        self._every = every
        self._since = time.time_ns()
        self._resource = Resource.create(
            {"service.name": name, "service.instance.id": str(uuid4())}
        )
        self._metrics = OTLPMetricExporter(f"{base}/v1/metrics", headers=given)
        self._provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        spans = _Scrubbed(OTLPSpanExporter(f"{base}/v1/traces", headers=given))
        self._provider.add_span_processor(BatchSpanProcessor(spans))
        self.tracer = self._provider.get_tracer("sojourn")
        self.interceptor = TracingInterceptor(self.tracer)

    async def run(self, page: Page) -> None:
        """Push the page of metrics again and again until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            await self._push(page)

    async def close(self, page: Page) -> None:
        """Push what is there, for some seconds only, and send no more."""
        try:
            async with asyncio.timeout(LAST):
                await self._push(page)
                await _aside(self._metrics.shutdown)
                await _aside(self._provider.shutdown)
        except TimeoutError:
            _log.warning("otlp_last_push_lost")

    async def _push(self, page: Page) -> None:
        text = (await page()).decode()
        try:
            # The exporter itself logs what the receiver refuses.
            await _aside(lambda: self._export(text))
        except ValueError as error:
            _log.warning("otlp_page_unreadable", error=str(error))

    def _export(self, text: str) -> None:
        self._metrics.export(as_otlp(text, self._resource, self._since))


async def _aside(work: Callable[[], None]) -> None:
    """Do what blocks in a thread that the end of the process need not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        fault: Exception | None = None
        try:
            work()
        except Exception as error:
            fault = error
        # The loop may be closed before a receiver has answered that nobody waits for.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, fault)

    Thread(target=run, name="otlp", daemon=True).start()
    await done


def as_otlp(text: str, resource: Resource, since: int) -> MetricsData:
    """Make OTLP's metrics of a Prometheus text; counters began at `since`, in nanoseconds."""
    found: list[Metric] = []
    moment = time.time_ns()
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            found.append(_histogram(family, since, moment))
        else:
            found.extend(_numbers(family, since, moment))
    scope = ScopeMetrics(_SCOPE, found, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _numbers(family: Family, since: int, moment: int) -> Iterator[Metric]:
    series: dict[str, list[NumberDataPoint]] = defaultdict(list)
    for sample in family.samples:
        series[sample.name].append(NumberDataPoint(sample.labels, since, moment, sample.value))
    for name, points in series.items():
        counted = family.type == "counter" and not name.endswith("_created")
        data = Sum(points, AggregationTemporality.CUMULATIVE, True) if counted else Gauge(points)
        yield Metric(name, family.documentation, "", data)


def _histogram(family: Family, since: int, moment: int) -> Metric:
    series: dict[tuple[tuple[str, str], ...], dict[str, float]] = defaultdict(dict)
    for sample in family.samples:
        labels = dict(sample.labels)
        part = labels.pop("le", sample.name.removeprefix(family.name))
        series[tuple(sorted(labels.items()))][part] = sample.value
    points = [_buckets(dict(labels), parts, since, moment) for labels, parts in series.items()]
    data = Histogram(points, AggregationTemporality.CUMULATIVE)
    return Metric(family.name, family.documentation, "", data)


def _buckets(
    labels: dict[str, str], parts: dict[str, float], since: int, moment: int
) -> HistogramDataPoint:
    """Make a point of Prometheus' buckets, each of which counts those below it as well."""
    bounds = sorted(float(part) for part in parts if not part.startswith("_") and part != "+Inf")
    by_bound = {float(part): value for part, value in parts.items() if not part.startswith("_")}
    counts: list[int] = []
    below = 0
    for bound in [*bounds, float("inf")]:
        upto = int(by_bound.get(bound, parts.get("_count", 0)))
        counts.append(upto - below)
        below = upto
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=since,
        time_unix_nano=moment,
        count=below,
        sum=parts.get("_sum", 0.0),
        bucket_counts=counts,
        explicit_bounds=bounds,
        # A Prometheus text does not tell them, and OTLP has them optional.
        min=None,  # pyright: ignore[reportArgumentType]
        max=None,  # pyright: ignore[reportArgumentType]
    )


class _Scrubbed(SpanExporter):
    """Sends spans without what errors say: it may name people, and payloads may be sealed."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_scrubbed(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _scrubbed(span: ReadableSpan) -> ReadableSpan:
    told = "exception.type"
    events = [
        Event(event.name, {told: (event.attributes or {}).get(told, "")}, event.timestamp)
        for event in span.events
    ]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
