"""What is pushed: the page of metrics as it is, and spans that name nobody."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from activities._otlp import Push
from telemetry import MeteringMiddleware, Telemetry
from tests.kit.otlp_receiver import Receiver, labelled

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as found:
        yield found


def page() -> bytes:
    registry = CollectorRegistry()
    Counter("seen", "Seen.", ["kind"], registry=registry).labels("a").inc(3)
    Gauge("level", "Level.", registry=registry).set(1.5)
    took = Histogram("took_seconds", "Took.", buckets=(0.1, 1.0), registry=registry)
    for seconds in (0.05, 0.5, 0.6, 30.0):
        took.observe(seconds)
    return generate_latest(registry)


async def test_a_page_and_a_request_arrive(receiver: Receiver) -> None:
    push = Push(f"{receiver.url}/", "authorization=Bearer%20hush", "unit", every=60)

    async def app(scope: Any, *_: object) -> None:
        scope["route"] = type("Route", (), {"path": "/things/{id}"})()
        with push.tracer.start_as_current_span("inner"):
            raise ValueError("nothing for ada@example.com")

    async def nothing(*_: object) -> Any:
        return None

    traceparent = (b"traceparent", f"00-{TRACE}-{CALLER}-01".encode())
    scope = {"type": "http", "method": "PUT", "path": "/things/5", "headers": [traceparent]}
    with pytest.raises(ValueError, match="ada"):
        await MeteringMiddleware(app, Telemetry(push.tracer))(scope, nothing, nothing)

    await push.close(lambda: asyncio.to_thread(page))

    metrics = receiver.metrics("unit")
    [seen] = metrics["seen_total"].sum.data_points
    assert metrics["seen_total"].sum.is_monotonic
    assert (labelled(seen), seen.as_double) == ({"kind": "a"}, 3.0)
    assert metrics["level"].gauge.data_points[0].as_double == 1.5
    [took] = metrics["took_seconds"].histogram.data_points
    assert list(took.bucket_counts) == [1, 2, 1]
    assert list(took.explicit_bounds) == [0.1, 1.0]
    assert (took.count, took.sum) == (4, 31.15)
    assert not took.HasField("min")

    spans = {span.name: span for _, span in receiver.spans()}
    outer, inner = spans["PUT /things/{id}"], spans["inner"]
    assert outer.trace_id == inner.trace_id == bytes.fromhex(TRACE)
    assert outer.parent_span_id == bytes.fromhex(CALLER)
    assert inner.parent_span_id == outer.span_id
    assert labelled(outer)["http.route"] == "/things/{id}"
    for span in spans.values():
        assert span.status.code == 2
        assert not span.status.message
        assert [labelled(event) for event in span.events] == [{"exception.type": "ValueError"}]
    everything = b"".join(receiver.raw)
    assert b"ada@example.com" not in everything
    assert b"things/5" not in everything
    assert {one["authorization"] for one in receiver.headers} == {"Bearer hush"}
