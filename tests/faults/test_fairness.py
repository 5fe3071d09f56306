"""One workspace floods, another works: the cap of open runs keeps the other's latency.

The short form floods with 60 runs beside 5, SOJOURN_CHAOS=1 with 2,000 beside 20.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from httpx2 import AsyncClient
from temporalio.client import WorkflowHandle

from tests.faults.evidence import figures
from tests.faults.stand import Stand, until
from tests.servers.effect_sink import EffectSink

_log = logging.getLogger("sojourn.faults")
CAP = 4
# How often its p95 may be what it is without the flood.
TIMES = 3
_STEP = """
  - id: post{number}
    type: http
    with:
      method: POST
      url: "{url}"
      json: {{n: "{{{{ input.n }}}}", step: post{number}, points: 1}}"""
_SOURCE = """
name: fair
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
steps:{steps}
"""


@asynccontextmanager
async def tenant(stand: Stand, name: str, sink: EffectSink) -> AsyncIterator[AsyncClient]:
    """Make a workspace with the definition; gives a client with its admin's key."""
    async with stand.api() as api:
        made = await api.post("/api/v1/workspaces", json={"name": name})
        assert made.status_code == 201, made.text
        body = {"name": "first", "role": "admin", "workspace": name}
        key = await api.post("/api/v1/api-keys", json=body)
        assert key.status_code == 201, key.text
    steps = "".join(_STEP.format(number=number, url=sink.url) for number in range(3))
    async with stand.api() as api:
        api.headers["Authorization"] = f"Bearer {key.json()['key']}"
        answer = await api.post(
            "/api/v1/definitions?publish=true",
            content=_SOURCE.format(steps=steps),
            headers={"content-type": "application/yaml"},
        )
        assert answer.status_code == 201, answer.text
        yield api


async def start_all(api: AsyncClient, count: int) -> list[str]:
    """Start so many runs, eight at once; gives their ids."""
    room = asyncio.Semaphore(8)

    async def one(n: int) -> str:
        async with room:
            answer = await api.post("/api/v1/definitions/fair/runs", json={"input": {"n": n}})
        assert answer.status_code in (201, 202), answer.text
        return answer.json()["id"]

    return list(await asyncio.gather(*(one(n) for n in range(count))))


async def completed(api: AsyncClient) -> set[str]:
    """Give the ids of the last 200 runs of the workspace that have completed."""
    shown = await api.get("/api/v1/runs", params={"status": "completed", "limit": 200})
    return {run["id"] for run in shown.json()["items"]}


async def open_runs(api: AsyncClient) -> bool:
    """Say whether a run of the workspace has yet to end."""
    shown = await api.get("/api/v1/runs", params={"status": ["queued", "running"], "limit": 1})
    return bool(shown.json()["items"])


async def measured(stand: Stand, api: AsyncClient, count: int) -> list[float]:
    """Start so many runs, wait for their end; gives the latencies of their steps."""
    ids = await start_all(api, count)

    async def all_of_them() -> bool:
        return await completed(api) >= set(ids)

    await until(all_of_them, f"{count} runs have completed", 300)
    workspace = (await api.get("/api/v1/me")).json()["workspace"]
    return await latencies(stand, [f"{workspace}/fair/{run_id}" for run_id in ids])


async def latencies(stand: Stand, ids: list[str]) -> list[float]:
    """Give for each step the seconds from when it could begin until a worker began it."""
    waits: list[float] = []
    for workflow_id in ids:
        handle: WorkflowHandle = stand.client.get_workflow_handle(workflow_id)
        ready = 0.0
        async for event in handle.fetch_history_events():
            at = event.event_time.ToDatetime().timestamp()
            if event.HasField("activity_task_started_event_attributes"):
                waits.append(at - ready)
            elif event.HasField("activity_task_completed_event_attributes") or event.HasField(
                "workflow_execution_started_event_attributes"
            ):
                ready = at
    return waits


def p95(waits: list[float]) -> int:
    """Give the 95th percentile in milliseconds."""
    return round(sorted(waits)[int(len(waits) * 0.95)] * 1000)


async def beside_a_flood(
    stand: Stand, big: AsyncClient, small: AsyncClient, flood: int, own: int
) -> int:
    """Give the small workspace's p95 while the flood of the big one is worked on."""
    await start_all(big, flood)
    before = await completed(big)
    found = p95(await measured(stand, small, own))
    after = await completed(big)
    assert before != after
    assert await open_runs(big)
    return found


async def test_a_flood_of_one_workspace_leaves_others_their_latency(
    stand: Stand, long: bool
) -> None:
    flood, own = (2000, 20) if long else (60, 5)
    async with EffectSink() as sink:
        stand.kill_api()
        await stand.start_api(SOJOURN_MAX_OPEN_RUNS=str(CAP))
        await stand.start_worker(
            SOJOURN_HTTP_ALLOW_CIDRS="127.0.0.0/8", SOJOURN_HTTP_ALLOW_PORTS=str(sink.port)
        )
        async with tenant(stand, "small", sink) as small, tenant(stand, "big", sink) as big:
            # The first runs of a worker pay for its imports.
            await measured(stand, small, own)
            idle = p95(await measured(stand, small, own))
            beside = await beside_a_flood(stand, big, small, flood, own)
            without: dict[str, int] = {}
            stand.kill_api()
            await stand.start_api()
            if long:
                # The control: without the cap its steps stand in the other's queue.
                found = await beside_a_flood(stand, big, small, 100, own)
                without = {"without_the_cap_p95_ms": found}
    stand.kill_worker()
    said = {"runs_of_the_other": flood, "own_runs": own, "cap_of_open_runs": CAP}
    said |= {"idle_p95_ms": idle, "beside_p95_ms": beside, **without}
    figures("T15 fairness", **said)
    _log.warning("%s", said)
    if long:
        assert beside <= TIMES * idle
    assert all(found > TIMES * idle for found in without.values())
