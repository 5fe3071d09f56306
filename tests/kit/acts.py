"""What is done to a run while it stands somewhere."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from schemas.run import RunState
from tests.kit.running import state_of
from tests.kit.scenarios import Act

Handle = WorkflowHandle[Any, Any]


async def until(handle: Handle, ready: Callable[[RunState], bool]) -> RunState:
    """Wait until a run's state is as wanted."""
    async with asyncio.timeout(180):
        while True:
            # The time-skipping server loses a query that meets a run's continue-as-new.
            with suppress(TimeoutError, RPCError):
                async with asyncio.timeout(5):
                    state = await state_of(handle)
                if ready(state):
                    return state
            await asyncio.sleep(0.02)


def step_is(path: str, status: str) -> Callable[[RunState], bool]:
    """True when the step at a path has this status."""

    def ready(state: RunState) -> bool:
        return path in state.steps and state.steps[path].status == status

    return ready


def held(path: str) -> Callable[[RunState], bool]:
    """True when the step at a path waits for an operator."""
    return lambda state: path in state.steps and state.steps[path].held


def answers(*given: tuple[str, str], path: str = "ask") -> Act:
    """Answer an approval: (by, decision) each."""

    async def act(handle: Handle) -> None:
        for by, decision in given:
            await until(handle, step_is(path, "waiting"))
            order = {"path": path, "by": by, "decision": decision, "data": {"note": by}}
            await handle.execute_update("respond", order)

    return act


def decides(action: str, path: str = "boom", **more: Any) -> Act:
    """Decide about a held step."""

    async def act(handle: Handle) -> None:
        await until(handle, held(path))
        await handle.execute_update("decide", {"path": path, "action": action, **more})

    return act


def rewinds(path: str, when: Callable[[RunState], bool], then: Act | None = None) -> Act:
    """Send the run back to a step once it stands somewhere, then do something else."""

    async def act(handle: Handle) -> None:
        await until(handle, when)
        await handle.execute_update("rewind", {"path": path})
        await until(handle, lambda state: state.rounds > 0)
        if then is not None:
            await then(handle)

    return act


def signals(name: str = "go", path: str = "w") -> Act:
    """Signal once the wait stands."""

    async def act(handle: Handle) -> None:
        await until(handle, step_is(path, "waiting"))
        await handle.signal(name, {"by": "ada"})

    return act


def stands(ready: Callable[[RunState], bool]) -> Act:
    """Wait until the run stands so."""

    async def act(handle: Handle) -> None:
        await until(handle, ready)

    return act


def sets(values: dict[str, Any]) -> Act:
    """Set vars of a paused run."""

    async def act(handle: Handle) -> None:
        await handle.execute_update("set_vars", {"vars": values})

    return act


def both(*acts: Act) -> Act:
    """Do one after the other."""

    async def act(handle: Handle) -> None:
        for one in acts:
            await one(handle)

    return act


async def cancel_in_compensation(handle: Handle) -> None:
    """Cancel a run, and again while it compensates."""
    await handle.cancel()
    await until(handle, lambda state: state.status == "compensating")
    await handle.cancel()
