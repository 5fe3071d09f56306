"""The benchmarks run, in their short form; what they time is nobody's business here."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.handwritten_activities import Http
from benchmarks.handwritten_worker import build
from settings import Settings
from workflows.worker_options import build_worker

# What the two workers run, and where.
_OWN = {"workflows", "activities", "task_queue", "workflow_runner", "graceful_shutdown_timeout"}
ROWS = (
    "10 no-op activities",
    "10 conditions",
    "10 http calls",
    "POST /api/v1/definitions/{name}/runs",
    "client.start_workflow",
    "commit of run",
    "worker RSS before",
    "Temporal server CPU",
    "rows waiting",
    "no-op activities: more events",
    "start through the API",
)


async def test_short_form_prints_every_row(repository: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["--quick", "--json", str(figures), "--only"]
    parts = ["noop", "conditions", "http", "latency", "sleepers"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", *arguments, *parts),
        cwd=repository,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(240):
        printed, _ = await process.communicate()
    text = printed.decode()
    assert process.returncode == 0, text
    for row in ROWS:
        assert row in text, f"{row!r} is missing in:\n{text}"
    found = json.loads(figures.read_text())
    events = {
        (one["case"], turn["side"]): turn["events"]
        for one in found["comparisons"]
        for turn in one["rounds"]
    }
    assert events["noop", "sojourn"] <= events["noop", "handwritten"] + 2
    assert events["http", "sojourn"] <= events["http", "handwritten"] + 2
    assert events["conditions", "sojourn"] <= 16
    assert found["sleepers"]["rows"] == {"waiting": found["sleepers"]["runs"]}


async def test_both_workers_have_the_same_options(client: Client, database_url: str) -> None:
    settings = Settings.model_validate(
        {"database_url": database_url, "task_queue": "bench-handwritten"}
    )
    http = Http()
    theirs = build(client, http, settings)
    ours = build_worker(
        client,
        http_activities(http),
        task_queue="bench-sojourn",
        sandboxed=settings.workflow_sandbox,
    )
    assert options(theirs) == options(ours)
    runners = [type(worker.config().get("workflow_runner")) for worker in (theirs, ours)]
    assert runners[0] is runners[1]
    await http.client.aclose()


def http_activities(http: Http) -> list[Callable[..., Any]]:
    return [http.fetch]


def options(worker: Worker) -> dict[str, object]:
    return {name: value for name, value in worker.config().items() if name not in _OWN}
