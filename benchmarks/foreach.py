"""One run over many items in child runs, some of them failing: time, memory, and histories."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import psutil
from rich.table import Table
from temporalio.client import Client

from benchmarks import rows
from benchmarks.meter import resident_mib
from benchmarks.noop import registry
from benchmarks.stack import Stack
from schemas.run import REVISION, RunState
from schemas.validation import load_definition

# Every hundredth item is none that the action takes.
_DEFINITION = """\
name: foreach
input: {type: object, properties: {items: {type: array, items: {type: integer}}}}
output: "{{ size(steps.each.output) }}"
steps:
  - id: each
    type: for_each
    items: "{{ input.items }}"
    concurrency: 20
    tolerate: 1%
    do:
      - {id: call, type: noop, with: {value: "{{ item % 100 == 7 ? 'none' : item }}"}}
"""
_QUEUE = "foreach"
_DEADLINE = 1800.0


@dataclass
class ForEach:
    """What was found; memory is the worker's, in MiB, histories are counted in events."""

    items: int
    failed: int = 0
    seconds: float = 0.0
    resident_before: float = 0.0
    resident_most: float = 0.0
    histories: int = 0
    longest_history: int = 0
    longest_parent: int = 0
    children: int = 0


async def measure(stack: Stack, count: int, *, told: Callable[[str], None]) -> ForEach:
    """Run the loop over `count` items and read every history that it made."""
    worker = await stack.start_worker("benchmarks.sojourn_worker", _QUEUE)
    definition = load_definition(_DEFINITION, registry())
    start = rows.starts(definition, {"items": list(range(count))}, 1)[0]
    start = start.model_copy(update={"revision": REVISION})
    await rows.insert(stack.database, [start])
    found = ForEach(items=count, resident_before=resident_mib(worker.pid))
    watching = asyncio.create_task(_watch(worker.pid, found))
    began = time.perf_counter()
    try:
        await stack.gateway(_QUEUE).start(start)
        handle = stack.client.get_workflow_handle(start.workflow_id)
        async with asyncio.timeout(_DEADLINE):
            output = await handle.result()
    finally:
        watching.cancel()
    found.seconds = time.perf_counter() - began
    assert output == count, output
    state: RunState = await handle.query("state", result_type=RunState)
    found.failed = sum(one["status"] == "failed" for one in state.steps["each"].output)
    told(f"{count} items in {found.seconds:.1f} s, {found.failed} failed")
    async for length, is_parent in _histories(stack.client, start.workflow_id, start.run_id):
        found.histories += 1
        found.children += not is_parent
        found.longest_history = max(found.longest_history, length)
        if is_parent:
            found.longest_parent = max(found.longest_parent, length)
    stack.stop(worker)
    return found


async def _watch(pid: int, found: ForEach) -> None:
    while psutil.pid_exists(pid):
        found.resident_most = max(found.resident_most, resident_mib(pid))
        await asyncio.sleep(0.25)


async def _histories(
    client: Client, workflow_id: str, first: str
) -> AsyncIterator[tuple[int, bool]]:
    """Give the length of each execution's history, and whether it is the parent's."""
    pending = [(workflow_id, "")]
    while pending:
        identity, run_id = pending.pop()
        handle = client.get_workflow_handle(identity, run_id=run_id or None)
        if not run_id:
            described = await handle.describe()
            info = described.raw_description.workflow_execution_info
            handle = client.get_workflow_handle(identity, run_id=info.first_run_id)
        history = await handle.fetch_history()
        yield len(history.events), identity.endswith(first)
        for event in history.events:
            child = event.child_workflow_execution_started_event_attributes.workflow_execution
            if child.workflow_id:
                pending.append((child.workflow_id, child.run_id))
        last = history.events[-1].workflow_execution_continued_as_new_event_attributes
        if last.new_execution_run_id:
            pending.append((identity, last.new_execution_run_id))


def table(found: ForEach) -> Table:
    """What was found, for people."""
    shown = Table(title=f"for_each over {found.items} items, {found.failed} of them failed")
    shown.add_column("figure")
    shown.add_column("value", justify="right")
    shown.add_row("time", f"{found.seconds:.1f} s")
    shown.add_row("items a second", f"{found.items / found.seconds:.0f}")
    shown.add_row("worker RSS before", f"{found.resident_before:.0f} MiB")
    shown.add_row("worker RSS at most", f"{found.resident_most:.0f} MiB")
    shown.add_row("child histories", str(found.children))
    shown.add_row("longest history", f"{found.longest_history} events")
    shown.add_row("longest history of the run itself", f"{found.longest_parent} events")
    return shown
