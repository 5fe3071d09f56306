"""Every recorded history replays with the interpreter as it is now."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner

from schemas.run import StepState
from schemas.steps import Parallel
from tests.faults.evidence import figures
from tests.kit.action_scenarios import ACTION_SCENARIOS
from tests.kit.agent_scenarios import AGENTS
from tests.kit.event_scenarios import EVENT_SCENARIOS
from tests.kit.histories import ENGINE, FOLDER, read, recorded
from tests.kit.inline_scenarios import INLINE
from tests.kit.loop_scenarios import LOOPS
from tests.kit.once_scenarios import ONCE
from tests.kit.scenarios import SCENARIOS
from tests.kit.stretch_scenarios import STRETCHES
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.interpreter import Interpreter
from workflows.setup import DATA_CONVERTER
from workflows.steps import parallel
from workflows.worker_options import sandbox


def replayer(runner: WorkflowRunner) -> Replayer:
    return Replayer(
        workflows=[Interpreter],
        workflow_runner=runner,
        data_converter=DATA_CONVERTER,
    )


async def failures(runner: WorkflowRunner, paths: list[Path]) -> dict[str, BaseException]:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for path in paths:
            yield read(path)

    results = await replayer(runner).replay_workflows(histories(), raise_on_replay_failure=False)
    return {str(key): error for key, error in results.replay_failures.items()}


def test_every_scenario_has_a_history() -> None:
    names = {path.name.split(".")[0] for path in (FOLDER / ENGINE).glob("*.json")}
    missing = {
        scenario.name
        for scenario in (
            *SCENARIOS,
            *INLINE,
            *LOOPS,
            *EVENT_SCENARIOS,
            *ACTION_SCENARIOS,
            *AGENTS,
            *STRETCHES,
            *ONCE,
        )
    } - names
    assert not missing, "record them with RECORD_HISTORIES=1, see CONTRIBUTING"


@pytest.mark.parametrize("path", recorded(), ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_history_replays(path: Path) -> None:
    await replayer(sandbox()).replay_workflow(read(path))


async def test_a_reordered_interpreter_does_not_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: branches started in reverse order must be noticed."""
    chosen = [path for path in recorded() if path.stem.startswith("parallel-")]
    assert chosen
    assert not await failures(UnsandboxedWorkflowRunner(), chosen)
    ordered = parallel.run

    async def reversed_branches(
        run: Execution, step: Parallel, state: StepState, frame: Frame
    ) -> dict[str, Any]:
        turned = step.model_copy(update={"branches": list(reversed(step.branches))})
        return await ordered(run, turned, state, frame)

    monkeypatch.setattr(parallel, "run", reversed_branches)
    broken = await failures(UnsandboxedWorkflowRunner(), chosen)
    assert broken
    assert all("ondeterminism" in repr(error) for error in broken.values()), broken
    figures(
        "T8 recorded histories",
        histories=len(recorded()),
        played_by_a_reordered_interpreter=len(chosen),
        refused=len(broken),
    )
