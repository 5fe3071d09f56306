"""Cancel at thirty points, and again during compensation: what completed is undone, in reverse."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from tests.faults.evidence import figures
from tests.kit.probes import calls
from tests.kit.running import Runner

POINTS = 30


@pytest.fixture(scope="module")
def right() -> Iterator[list[int]]:
    """How many steps were undone at each point at which all was right."""
    found: list[int] = []
    yield found
    figures("T20 cancelled twice", points=POINTS, right=len(found), undone=sum(found))


def _step(name: str) -> str:
    undo = f"{{id: undo_{name}, type: probe}}"
    return f"{{id: {name}, type: probe, compensate: [{undo}]}}"


def _plain(name: str) -> str:
    return f"{{id: {name}, type: probe}}"


# Eleven steps with a compensation; the loops run theirs three times each.
SAGA = f"""
name: saga
steps:
  - {_step("reserve")}
  - {_plain("look")}
  - id: both
    type: parallel
    branches:
      - name: rooms
        do:
          - id: each
            type: for_each
            items: [1, 2, 3]
            concurrency: 2
            do: [{_step("room")}, {_plain("check")}, {_step("key")}]
          - {_step("desk")}
      - name: money
        do:
          - {_step("pay")}
          - id: again
            type: repeat
            max: 3
            until: index == 2
            do: [{_plain("ask")}, {_step("rate")}]
          - {_step("book")}
      - name: mails
        do: [{_step("draft")}, {_plain("spell")}, {_step("send")}]
  - {_plain("count")}
  - {_step("close")}
  - {_plain("tell")}
  - {_step("file")}
  - {_plain("last")}
  - {{id: nap, type: delay, for: 1h}}
"""
UNDONE = {"reserve", "room", "key", "desk", "pay", "rate", "book", "draft", "send", "close", "file"}


async def completed(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Give the paths whose activity completed, in the order of Temporal's history."""
    names: dict[int, str] = {}
    found: list[str] = []
    async for event in handle.fetch_history_events():
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_id:
            names[event.event_id] = scheduled.activity_id
        ended = event.activity_task_completed_event_attributes.scheduled_event_id
        if ended:
            found.append(names[ended])
    return found


def _made(run_id: str, *, undo: bool) -> list[str]:
    own = [path for run, path in calls if run == run_id]
    return [path for path in own if ("undo_" in path) is undo]


async def _enough(run_id: str, count: int, *, undo: bool) -> None:
    async with asyncio.timeout(180):
        while len(_made(run_id, undo=undo)) < count:  # noqa: ASYNC110 - calls come from a worker
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("point", range(1, POINTS + 1))
async def test_what_completed_is_undone_in_reverse(
    point: int, real_time: Runner, right: list[int]
) -> None:
    start = real_time.start_of(SAGA)
    handle = await real_time.start(start)
    forward = min(point, 26)
    await _enough(start.run_id, forward, undo=False)
    # Beyond the last call the points are moments of the sleep at the end.
    await asyncio.sleep(0.02 * (point - forward))
    await handle.cancel()
    first_undo = asyncio.create_task(_enough(start.run_id, 1, undo=True))
    closed = asyncio.create_task(real_time.end(handle))
    await asyncio.wait([first_undo, closed], return_when=asyncio.FIRST_COMPLETED)
    if not closed.done():
        await handle.cancel()
    ended = await closed
    first_undo.cancel()
    assert ended.state.status == "cancelled"
    history = await completed(handle)
    done = [path for path in history if path.rpartition(".")[2] in UNDONE]
    undone = [path for path in history if "undo_" in path]
    assert [path.replace("undo_", "") for path in undone] == done[::-1]
    assert {path for path, status in ended.steps.items() if status == "compensated"} == set(done)
    assert _made(start.run_id, undo=True) == undone
    right.append(len(undone))
