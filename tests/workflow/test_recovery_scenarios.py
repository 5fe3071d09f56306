"""Approvals, windows and recovery, with every way to end."""

import os

import pytest
from temporalio.client import WorkflowFailureError

from tests.kit.approval_scenarios import APPROVALS, WINDOWS
from tests.kit.histories import keep
from tests.kit.recovery_scenarios import RECOVERY, Recovery
from tests.kit.running import Runner, begun
from tests.kit.scenarios import INPUT, Scenario, definition_text

GIVEN = {**INPUT, "zone": "America/Asuncion"}


def text_of(scenario: Scenario) -> str:
    head = f"\n{scenario.head}" if isinstance(scenario, Recovery) and scenario.head else ""
    return definition_text(scenario) + head


@pytest.mark.parametrize(
    "scenario", [*APPROVALS, *WINDOWS, *RECOVERY], ids=lambda scenario: scenario.name
)
async def test_scenario(scenario: Scenario, skipping: Runner, real_time: Runner) -> None:
    runner = real_time if scenario.real_time else skipping
    start = runner.start_of(text_of(scenario), GIVEN, history_limit=scenario.history_limit)
    handle = await runner.start(start)
    if scenario.act is not None:
        await begun(handle)
        await scenario.act(handle)
    ended = await runner.end(handle)
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
            await handle.result()
        assert getattr(caught.value.cause, "type", None) == scenario.code
    if os.environ.get("RECORD_HISTORIES"):
        first = handle.first_execution_run_id
        assert first is not None
        await keep(runner.client, handle.id, first, scenario.name)
