"""Every step kind, with every way to end."""

import pytest

from tests.kit.inline_scenarios import INLINE
from tests.kit.judging import judge
from tests.kit.running import Runner, begun
from tests.kit.scenarios import INPUT, SCENARIOS, Scenario, definition_text


@pytest.mark.parametrize("scenario", [*SCENARIOS, *INLINE], ids=lambda scenario: scenario.name)
async def test_scenario(scenario: Scenario, skipping: Runner, real_time: Runner) -> None:
    runner = real_time if scenario.real_time else skipping
    start = runner.start_of(definition_text(scenario), INPUT, history_limit=scenario.history_limit)
    handle = await runner.start(start)
    if scenario.act is not None:
        await begun(handle)
        await scenario.act(handle)
    ended = await runner.end(handle)
    await judge(scenario, ended, runner)
