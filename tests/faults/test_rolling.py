"""Workers and the API replaced one after the other, with runs of two revisions in flight."""

import asyncio
import logging

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import WorkflowHandle

from schemas.run import REVISION
from tests.faults.evidence import figures
from tests.faults.stand import DEADLINE, Stand

_log = logging.getLogger("sojourn.faults")
# Three days are one second here. The signal comes when the last worker is there, so that every run
# has been through a restart.
ROLLING = """
name: rolling
input: {type: object, properties: {n: {type: integer}}}
output: {seen: "{{ vars.seen }}", laps: "{{ steps.laps.output }}"}
steps:
  - {id: think, type: delay, for: 3d}
  - id: both
    type: parallel
    branches:
      - {name: left, do: [{id: left, type: delay, for: 2d}]}
      - {name: right, do: [{id: right, type: condition, if: "input.n >= 0"}]}
  - id: laps
    type: for_each
    items: [1, 2, 3]
    do: [{id: nap, type: delay, for: 2d}]
  - {id: seen, type: set, vars: {seen: "{{ input.n }}"}}
  - {id: go, type: wait, signal: go}
"""


async def begin(stand: Stand, numbers: range) -> list[WorkflowHandle]:
    """Start a run for each number."""
    handles = []
    async with stand.api() as api:
        for number in numbers:
            answer = await api.post(
                "/api/v1/definitions/rolling/runs", json={"input": {"n": number}}
            )
            assert answer.status_code == 201, answer.text
            workflow_id = f"default/rolling/{answer.json()['id']}"
            handles.append(stand.client.get_workflow_handle(workflow_id))
    return handles


async def evidence(handle: WorkflowHandle) -> tuple[set[str], list[str]]:
    """The workers that took tasks of a run, and the causes of its failed tasks."""
    workers: set[str] = set()
    causes: list[str] = []
    async for event in handle.fetch_history_events():
        if event.HasField("workflow_task_completed_event_attributes"):
            workers.add(event.workflow_task_completed_event_attributes.identity)
        if event.HasField("workflow_task_failed_event_attributes"):
            cause = event.workflow_task_failed_event_attributes.cause
            causes.append(WorkflowTaskFailedCause.Name(cause))
    return workers, causes


async def test_a_rolling_restart_loses_no_run(stand: Stand, long: bool) -> None:
    runs, rounds = (300, 6) if long else (12, 3)
    older = {"SOJOURN_INTERPRETER_REVISION": str(REVISION - 1)}
    stand.kill_api()
    await stand.start_api(**older)
    async with stand.api() as api:
        answer = await api.post(
            "/api/v1/definitions",
            params={"publish": True},
            content=ROLLING,
            headers={"content-type": "application/yaml"},
        )
        assert answer.status_code == 201, answer.text
    worker = await stand.start_other_worker()
    handles: list[WorkflowHandle] = []
    try:
        for turn in range(rounds):
            if turn == rounds // 2:
                # All workers know the newest revision by now, so runs may begin with it.
                stand.kill_api()
                await stand.start_api()
            handles += await begin(stand, range(len(handles), runs * (turn + 1) // rounds))
            successor = await stand.start_other_worker()
            await asyncio.to_thread(worker.stop, grace=60.0)
            worker = successor
        await asyncio.gather(*(handle.signal("go") for handle in handles))
        async with asyncio.timeout(DEADLINE if not long else 300):
            results = await asyncio.gather(*(handle.result() for handle in handles))
    finally:
        worker.kill()
    assert [result["seen"] for result in results] == list(range(runs))
    assert all(len(result["laps"]) == 3 for result in results)
    found = await asyncio.gather(*(evidence(handle) for handle in handles))
    causes = [cause for _, one in found for cause in one]
    moved = sum(len(workers) > 1 for workers, _ in found)
    assert causes == []
    assert moved >= 0.8 * runs, "the restarts hit too few runs in flight"
    _log.warning("%d runs over %d restarts, %d on several workers", runs, rounds, moved)
    figures("T9 rolling restart", runs=runs, restarts=rounds, lost=0, moved=moved, tasks_failed=0)
