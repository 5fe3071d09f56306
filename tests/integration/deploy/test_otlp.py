"""Metrics and traces arrive at an OTLP receiver, from every process, and name nobody."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dev.mailbox import Mailbox
from dev.ports import any_port
from tests.integration.deploy.children import Children
from tests.integration.deploy.compose import ROOT
from tests.kit.otlp_receiver import Receiver, labelled

KEY = "key-of-the-pushing-api"
CANARY = "canary-lovelace"
DEFINITION = """
name: pushed
input: {type: object, required: [email], properties: {email: {type: string}}}
steps:
  - {id: hello, type: email, with: {to: "{{ input.email }}", subject: Hello, text: pushed}}
  - {id: boom, type: fail, message: "nothing for {{ input.email }}"}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as found:
        yield found


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    found = Children(tmp_path)
    yield found
    found.kill()


@pytest.fixture
def settings(temporal_address: str, database_url: str, smtp: Mailbox) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal_address,
        "SOJOURN_TASK_QUEUE": f"pushed-{uuid4().hex[:8]}",
        "SMTP_URL": smtp.url,
        "SOJOURN_MAIL_FROM": "Sojourn <pushed@example.com>",
        "SOJOURN_MAIL_POLL_EVERY": "0.5",
    }


async def run_one(children: Children, api: httpx2.AsyncClient) -> str:
    """Run the definition in the trace of the caller; gives the run's id."""

    async def ready() -> bool:
        try:
            return (await api.get("/readyz")).status_code == 200
        except httpx2.TransportError:
            return False

    await children.until(ready, "the API is ready")
    stored = await api.post(
        "/api/v1/definitions?publish=true",
        content=DEFINITION,
        headers={"Content-Type": "application/yaml"},
    )
    assert stored.status_code == 201, stored.text
    started = await api.post(
        "/api/v1/definitions/pushed/runs",
        json={"input": {"email": f"{CANARY}@example.com"}},
        headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    )
    run = started.json()["id"]

    async def ended() -> bool:
        return (await api.get(f"/api/v1/runs/{run}")).json()["finished_at"] is not None

    await children.until(ended, "the run ends")
    return run


async def stopped(process: "subprocess.Popen[bytes]") -> float:
    """Stop a process; gives how many seconds it took."""
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, 60)
    assert process.returncode == 0
    return time.monotonic() - begun


async def test_every_process_pushes_its_metrics_and_traces(
    receiver: Receiver, children: Children, settings: dict[str, str]
) -> None:
    api_port, worker_port = any_port(), any_port()
    pushing = {
        **settings,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{receiver.url}/",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20hush,x-tenant=one",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        # The SDK's own.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    children.start("api", **pushing, SOJOURN_API_KEY=KEY, SOJOURN_PORT=str(api_port))
    children.start("worker", **pushing, SOJOURN_METRICS_PORT=str(worker_port))
    children.start("mail-poller", **pushing)
    base, headers = f"http://127.0.0.1:{api_port}", {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=60) as api:
        run = await run_one(children, api)

        async def arrived() -> bool:
            names = {span.name for _, span in receiver.spans()}
            return {"RunActivity:email", "CompleteWorkflow:pushed", "ReadMailboxes"} <= names

        await children.until(arrived, "the spans arrive")
        scraped = (await api.get("/metrics")).text
        async with httpx2.AsyncClient() as anonymous:
            scraped += (await anonymous.get(f"http://127.0.0.1:{worker_port}/metrics")).text

    async def counted() -> bool:
        # A busy database is looked at again ten seconds later.
        shown = {
            "sojourn_dead_letters",
            "sojourn_outbox_oldest_seconds",
            "sojourn_runs_started_total",
        }
        failed = "temporal_workflow_failed_total"
        return shown <= set(receiver.metrics("sojourn-api")) and failed in receiver.metrics(
            "sojourn-worker"
        )

    await children.until(counted, "the metrics arrive")
    # What the process did last is pushed before it ends.
    assert await stopped(children.running.pop("worker")) < 30
    of_api, of_worker = receiver.metrics("sojourn-api"), receiver.metrics("sojourn-worker")
    assert "process_cpu_seconds_total" in receiver.metrics("sojourn-mail-poller")
    assert_same(scraped, of_api | of_worker)
    started = {
        labelled(point)["definition"]: point.as_double
        for point in of_api["sojourn_runs_started_total"].sum.data_points
    }
    assert started["pushed"] == 1.0
    letters = [labelled(point) for point in points(of_api["sojourn_dead_letters"])]
    assert {one["kind"] for one in letters} == {"run", "send", "delivery", "blocked"}

    told = assert_one_trace(receiver, run)
    assert {"RunActivity:email", "RunWorkflow:pushed", "StartWorkflow:pushed"} <= told
    assert {one.get("Authorization") or one["authorization"] for one in receiver.headers} == {
        "Bearer hush"
    }
    everything = b"".join(receiver.raw)
    assert b"deployment.environment.name" in everything
    assert CANARY.encode() not in everything
    # Logs are joined with traces.
    assert TRACE in children.log("api").read_text()


def points(metric: Any) -> list[Any]:
    return list(getattr(metric, metric.WhichOneof("data")).data_points)


def assert_same(scraped: str, pushed: dict[str, Any]) -> None:
    """Every series that a scrape shows is pushed under its name, and a histogram adds up."""
    families = {one.name: one for one in text_string_to_metric_families(scraped)}
    for family in families.values():
        names = {sample.name for sample in family.samples}
        if family.type == "histogram":
            names = {family.name}
        assert names <= set(pushed), family.name
    metric = pushed["sojourn_api_request_duration_seconds"]
    assert len(metric.histogram.data_points) > 3
    for point in metric.histogram.data_points:
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
        assert sum(point.bucket_counts) == point.count > 0
        assert point.sum > 0
    assert pushed["temporal_workflow_failed_total"].sum.is_monotonic
    assert points(pushed["process_resident_memory_bytes"])[0].as_double > 10_000_000


def assert_one_trace(receiver: Receiver, run: str) -> set[str]:
    """The caller's trace goes on from the request to the actions; gives its spans' names."""
    spans = {span.span_id: (service, span) for service, span in receiver.spans()}
    own = {key: pair for key, pair in spans.items() if pair[1].trace_id == bytes.fromhex(TRACE)}
    [action] = [span for _, span in own.values() if span.name == "RunActivity:email"]
    assert labelled(action)["temporalWorkflowID"] == f"default/pushed/{run}"
    services, names = [], []
    span = action
    while span.parent_span_id in spans:
        service, span = spans[span.parent_span_id]
        services.append(service)
        names.append(span.name)
    assert names[-1] == "POST /definitions/{name}/runs"
    assert span.parent_span_id == bytes.fromhex("b7ad6b7169203331")
    assert names[0] == "StartActivity:email"
    assert services[-1] == "sojourn-api"
    assert services[0] == "sojourn-worker"
    # Errors are told by their kind alone.
    for _, span in spans.values():
        assert not span.status.message
        assert all(set(labelled(event)) <= {"exception.type"} for event in span.events)
    return {span.name for _, span in own.values()}


async def test_nothing_is_pushed_unless_it_is_asked_for(
    receiver: Receiver, children: Children, settings: dict[str, str]
) -> None:
    port = any_port()
    asked = {"OTEL_METRIC_EXPORT_INTERVAL": "100", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}
    children.start("worker", **settings, **asked, SOJOURN_METRICS_PORT=str(port))

    async def answers() -> bool:
        async with httpx2.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200
            except httpx2.TransportError:
                return False

    await children.until(answers, "the worker's page")
    assert await stopped(children.running.pop("worker")) < 30
    assert receiver.requests == []
    code = (
        "import sys, worker, server\n"
        "from settings import load_settings\n"
        "assert worker.Otlp(load_settings(None), 'x').interceptors == []\n"
        "assert not {'activities._otlp', 'opentelemetry.sdk.trace'} & set(sys.modules)\n"
    )
    environment = {"DATABASE_URL": settings["DATABASE_URL"], "PYTHONPATH": str(ROOT)}
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        check=True,
        cwd=children.folder,
        env=environment,
    )


async def test_a_receiver_that_is_away_delays_nothing(
    children: Children, settings: dict[str, str]
) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{any_port()}"}
    children.start("mail-poller", **settings, **endpoint, OTEL_METRIC_EXPORT_INTERVAL="100")

    async def failed() -> bool:
        return "v1/metrics" in children.log("mail-poller").read_text() or "Failed" in (
            children.log("mail-poller").read_text()
        )

    await children.until(failed, "a push fails")
    assert await stopped(children.running.pop("mail-poller")) < 10
