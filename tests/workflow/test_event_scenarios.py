"""Waits for events, and goals, over the real store of events."""

import pytest

from db import runs
from db.engine import Database
from tests.kit.event_scenarios import EVENT_SCENARIOS, EventScenario, event_definition
from tests.kit.judging import judge
from tests.kit.posting import Desk
from tests.kit.running import Runner


@pytest.mark.parametrize("scenario", EVENT_SCENARIOS, ids=lambda scenario: scenario.name)
async def test_scenario(
    scenario: EventScenario, skipping: Runner, real_time: Runner, database: Database
) -> None:
    runner = real_time if scenario.real_time else skipping
    start = runner.start_of(event_definition(scenario), {}, history_limit=scenario.history_limit)
    start.input |= {"key": start.run_id, "n": 3, "nobody": None}
    desk = Desk(database, runner.client, start.workspace, start.run_id)
    # The row comes first, as in the API; the server that skips time is days ahead of it.
    async with database.session() as session:
        await runs.insert_queued(
            session,
            start.workspace,
            run_id=start.run_id,
            definition=scenario.name,
            version=1,
            input=start.input,
        )
    for kind, data in scenario.before:
        await desk.post(kind, data)
    handle = await runner.start(start)
    if scenario.act is not None:
        await scenario.act(handle, desk)
    ended = await runner.end(handle)
    await judge(scenario, ended, runner)
    assert ended.state.output == scenario.output
