"""Batches: the items of a large loop as child runs, each with the loop for its one step.

The parent sees to the window, the order and the tolerance; a child tells the outcome of each of
its items, and hands up the compensations that are due for them.
"""

import asyncio
from typing import Any

from temporalio import workflow

from workflows import undo
from workflows.children import child_id
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.iterations import too_many
from workflows.tasks import Task, first_done
from workflows.unwinding import Aborted, RunFailed, StopRun
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from schemas.definition import Definition
    from schemas.errors import LimitError
    from schemas.expressions import references
    from schemas.graph import inside
    from schemas.reading import read_by
    from schemas.run import MAX_RESULTS_BYTES, Batch, ErrorInfo, RunStart, StepState, Undo
    from schemas.steps import ForEach
    from schemas.steps_flow import DEFAULT_BATCH

# So many children at once where `concurrency` allows it, for more than one worker to share in.
_ABREAST = 4


class Batches:
    """The batches of one loop; what is finished stands in the step's state."""

    def __init__(
        self, run: Execution, step: ForEach, state: StepState, frame: Frame, items: list[Any]
    ) -> None:
        """Prepare to run `items`, or what is left of them."""
        self._run = run
        self._step = step
        self._state = state
        self._frame = frame
        self._items = items
        self._size = step.batch or DEFAULT_BATCH
        self._tolerated = step.tolerated(len(items))
        if state.data is None:
            state.attempts += 1
            state.data = {"done": {}, "failed": 0, "bytes": 0, "began": state.attempts}
        self._kept: dict[str, Any] = state.data

    async def all(self) -> list[dict[str, Any]]:
        """Run the batches, a window of them at once; gives the items' outcomes in their order."""
        offsets = list(range(0, len(self._items), self._size))
        done: dict[str, list[Any]] = self._kept["done"]
        waiting = [offset for offset in offsets if str(offset) not in done]
        free = self._shares(len(offsets))
        running: list[Task] = []
        while waiting or running:
            while waiting and free:
                call = self._one(waiting.pop(0), free.pop(0), free)
                running.append(asyncio.create_task(call))
            finished = await first_done(running)
            running = [task for task in running if task not in finished]
        return [outcome for offset in offsets for outcome in done[str(offset)]]

    def _shares(self, batches: int) -> list[int]:
        """Divide `concurrency` among the children that run at once: how many items each runs."""
        total = self._step.concurrency
        abreast = min(batches, max(-(-total // self._size), min(_ABREAST, total)))
        return [total // abreast + (place < total % abreast) for place in range(abreast)]

    async def _one(self, offset: int, share: int, free: list[int]) -> None:
        run, kept = self._run, self._kept
        await run.gate()
        start = self._start(offset, share)
        count = len(self._items[offset : offset + self._size])
        last = offset + count - 1
        path = f"{self._state.path}[{offset}]"
        summary = f"items {offset} to {last} of {self._step.id}"
        request = {
            "workspace": start.workspace,
            "run_id": start.run_id,
            "definition": start.definition.name,
            "version": start.version,
            "parent": run.start.run_id,
            "path": path,
            "input": {"offset": offset, "count": count},
            "lead_id": start.lead.id if start.lead else None,
            "correlation_id": start.correlation_id,
        }
        await run.local("open_batch", [request], f"{path}.open", summary)
        end = await run.children.part(start, summary)
        if end.error is not None:
            raise Aborted(end.error) if end.aborted else RunFailed(end.error)
        free.append(share)
        if end.output["stopped"]:
            raise StopRun(end.output["output"])
        self._take(offset, end.output["outcomes"])
        _adopt(run, end.output)
        self._state.note = f"{sum(map(len, kept['done'].values()))} of {len(self._items)} items"
        run.recorder.touch(self._state.path)
        await run.recorder.flush()

    def _take(self, offset: int, outcomes: list[dict[str, Any]]) -> None:
        kept = self._kept
        failures = [outcome["error"] for outcome in outcomes if "error" in outcome]
        kept["done"][str(offset)] = outcomes
        kept["failed"] += len(failures)
        kept["bytes"] += len(to_json(outcomes))
        if self._tolerated is not None and kept["failed"] > self._tolerated:
            last = ErrorInfo.model_validate(failures[-1])
            raise RunFailed(too_many(kept["failed"], self._tolerated, last))
        if kept["bytes"] > MAX_RESULTS_BYTES:
            raise LimitError(
                f"the outputs of the items have {kept['bytes']} bytes; "
                f"the limit is {MAX_RESULTS_BYTES}"
            )

    def _start(self, offset: int, share: int) -> RunStart:
        """Make a child's start: of the parent's scope it gets what the body reads."""
        run, step, above = self._run, self._step, self._run.start
        reads = [*read_by(step.do), *references(above.definition.timezone)]
        scope = run.scope(dict.fromkeys(reads), self._frame)
        own = {step.id, *inside(step)}
        left = None if self._tolerated is None else self._tolerated - self._kept["failed"]
        batch = Batch(
            run_id=above.batch.run_id if above.batch else above.run_id,
            started_at=run.state.started_at,
            offset=offset,
            items=self._items[offset : offset + self._size],
            tolerated=left,
            prefix=self._frame.prefix,
            names={name: scope[name] for name in self._frame.names if name in scope},
            steps={name: seen for name, seen in scope.get("steps", {}).items() if name not in own},
            vars=scope.get("vars", {}),
        )
        update = {
            "run_id": child_id(run, self._state, offset),
            "definition": _definition(above.definition, step, share),
            "input": scope.get("input", {}),
            "parent": above.run_id,
            "batch": batch,
        }
        return above.model_copy(update=update)


def _definition(whole: Definition, step: ForEach, share: int) -> Definition:
    """Make the definition of a batch: the loop alone, without what the parent does for it."""
    loop = {"id": step.id, "type": step.type, "title": step.title, "items": [], "as": step.as_}
    written = {
        "name": whole.name,
        "defaults": whole.defaults,
        "priority": whole.priority,
        "timezone": whole.timezone,
        "compensation": whole.compensation,
        "steps": [{**loop, "concurrency": share, "do": step.do}],
    }
    return Definition.model_validate(written)


async def follow_batch(run: Execution, batch: Batch) -> dict[str, Any]:
    """Walk a batch to its end; gives what the parent takes: outcomes, and due compensations."""
    frame = Frame.at(batch.prefix, batch.names)
    loop = run.start.definition.steps[0]
    try:
        await run_list(run, [loop], frame)
        stopped, output = False, None
    except StopRun as stop:
        stopped, output = True, stop.output
    await run.children.join()
    outcomes = run.state.steps[frame.path(loop.id)].output
    due = undo.due(run)[::-1]
    prefixes = {entry.prefix for entry in due}
    states = [
        state.model_dump(mode="json", exclude_defaults=True)
        for path, state in run.state.steps.items()
        if any(path[: place + 1] in prefixes for place, sign in enumerate(path) if sign == ".")
    ]
    return {
        "stopped": stopped,
        "output": output,
        "outcomes": outcomes,
        "undo": [entry.model_dump(mode="json") for entry in due],
        "steps": states,
    }


def _adopt(run: Execution, told: dict[str, Any]) -> None:
    """Take over a finished batch's compensations, with the steps that they may read."""
    for value in told["steps"]:
        state = StepState.model_validate(value)
        run.state.steps[state.path] = state
        run.keep(state)
    last = max((entry.order for entry in run.state.undo), default=0)
    for place, value in enumerate(told["undo"], start=1):
        entry = Undo.model_validate(value)
        entry.order = last + place
        if entry.kept is not None:
            run.keep(entry.kept)
        run.state.undo.append(entry)
