"""How a scenario must have ended, and its history where histories are recorded."""

import os
from typing import Any, Protocol

import pytest
from temporalio.client import WorkflowFailureError

from tests.kit.histories import keep
from tests.kit.running import Ended, Runner


class Expected(Protocol):
    """What every scenario says of its end; an output of None says nothing."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def output(self) -> Any: ...
    @property
    def code(self) -> str | None: ...
    @property
    def steps_end(self) -> dict[str, str]: ...
    @property
    def history_limit(self) -> int | None: ...


async def judge(scenario: Expected, ended: Ended, runner: Runner) -> None:
    """Check a run's end, and keep its history if RECORD_HISTORIES is set."""
    state = ended.state
    assert state.status == scenario.status, state.error
    if scenario.output is not None:
        assert state.output == scenario.output
    assert (state.error.code if state.error else None) == scenario.code
    assert scenario.steps_end.items() <= ended.steps.items()
    assert all(step.status.done for step in state.steps.values())
    assert all(step.finished_at is not None for step in state.steps.values())
    if scenario.history_limit is not None:
        assert state.generation > 0
    if scenario.code is not None:
        with pytest.raises(WorkflowFailureError) as caught:
            await ended.handle.result()
        assert getattr(caught.value.cause, "type", None) == scenario.code
    if os.environ.get("RECORD_HISTORIES"):
        first = ended.handle.first_execution_run_id
        assert first is not None
        await keep(runner.client, ended.handle.id, first, scenario.name)
