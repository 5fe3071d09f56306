"""Running a definition on a Temporal server from a test."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import TypedSearchAttributes

from schemas.actions import Catalogue, action_timeouts
from schemas.run import REVISION, RunStart, RunState, StepStatus
from schemas.validation import load_definition


@dataclass(frozen=True)
class Ended:
    """How a run ended, as its own state tells."""

    handle: WorkflowHandle[Any, Any]
    state: RunState

    @property
    def steps(self) -> dict[str, str]:
        """Path to status."""
        return {path: step.status.value for path, step in self.state.steps.items()}


def start_of(
    catalogue: Catalogue, text: str, given: dict[str, Any] | None = None, **more: Any
) -> RunStart:
    """Check a definition and make a start of it."""
    return RunStart(
        run_id=str(uuid.uuid4()),
        workspace="default",
        definition=load_definition(text, catalogue),
        version=1,
        input=given or {},
        timeouts=action_timeouts(catalogue),
        revision=REVISION,
        **more,
    )


@dataclass(frozen=True)
class Runner:
    """Starts definitions on one server and task queue."""

    client: Client
    task_queue: str
    catalogue: Catalogue

    def start_of(self, text: str, given: dict[str, Any] | None = None, **more: Any) -> RunStart:
        """Check a definition and make a start of it."""
        return start_of(self.catalogue, text, given, **more)

    async def start(self, start: RunStart) -> WorkflowHandle[Any, Any]:
        """Start a run as the gateway does, without its deadline."""
        return await self.client.start_workflow(
            start.definition.name,
            start,
            id=start.workflow_id,
            task_queue=self.task_queue,
            search_attributes=TypedSearchAttributes([]),
        )

    async def end(self, handle: WorkflowHandle[Any, Any]) -> Ended:
        """Wait for the end, whatever it is, and read the final state."""
        # A run that hangs must fail its test, not the suite.
        async with asyncio.timeout(180):
            with suppress(WorkflowFailureError):  # the state tells how it ended
                await handle.result()
        return Ended(handle, await state_of(handle))


async def until(ready: Callable[[], Awaitable[Any]], deadline: float = 180) -> Any:
    """Ask again and again until the answer is true; gives it, or fails after `deadline` seconds."""
    async with asyncio.timeout(deadline):
        while True:
            if answer := await ready():
                return answer
            await asyncio.sleep(0.02)


async def state_of(handle: WorkflowHandle[Any, Any]) -> RunState:
    """Query a run's state; what a worker fails to answer is asked again.

    On a busy machine a replay may take longer than the SDK lets a workflow task take, or meet the
    SDK's dropping of the run from its cache. What is wrong stays wrong.
    """
    for _ in range(3):
        with suppress(WorkflowQueryFailedError):
            return await handle.query("state", result_type=RunState)
    return await handle.query("state", result_type=RunState)


async def begun(handle: WorkflowHandle[Any, Any]) -> RunState:
    """Wait until a run waits for something, or an activity of it is under way."""
    async with asyncio.timeout(180):
        while True:
            state = await state_of(handle)
            active = [step for step in state.steps.values() if not step.status.done]
            if any(step.status == StepStatus.WAITING for step in active) or any(
                step.type == "probe" and step.attempts for step in active
            ):
                return state
            await asyncio.sleep(0.02)
