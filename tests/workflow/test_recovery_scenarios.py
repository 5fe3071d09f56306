"""Approvals, windows and recovery, with every way to end."""

import pytest

from tests.kit.approval_scenarios import APPROVALS, WINDOWS
from tests.kit.judging import judge
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
    await judge(scenario, ended, runner)
