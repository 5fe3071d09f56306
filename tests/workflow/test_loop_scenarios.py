"""Loops, batches and sub-runs, with every way to end."""

import os

import pytest
from temporalio.client import WorkflowHandle

from db import definitions
from db.engine import Database
from schemas.document import parse_document
from tests.kit.histories import keep
from tests.kit.judging import judge
from tests.kit.loop_scenarios import LOOPS, PUBLISHED
from tests.kit.running import Runner, begun, until
from tests.kit.scenarios import INPUT, Scenario, definition_text


@pytest.fixture(scope="session")
async def published(database: Database) -> None:
    """Publish what the scenarios' sub-runs run."""
    for name, text in PUBLISHED.items():
        source = f"name: {name}\n{text}"
        document = parse_document(source).data
        async with database.session() as session:
            await definitions.create(session, "default", name, document, source, publish=True)


async def children(runner: Runner, handle: WorkflowHandle) -> list[tuple[str, str]]:
    """Give workflow id and first run id of the children that a run's generations started."""
    found: list[tuple[str, str]] = []
    run_id = handle.first_execution_run_id
    while run_id:
        one = runner.client.get_workflow_handle(handle.id, run_id=run_id)
        history = await one.fetch_history()
        for event in history.events:
            started = event.child_workflow_execution_started_event_attributes
            if started.workflow_execution.workflow_id:
                execution = started.workflow_execution
                found.append((execution.workflow_id, execution.run_id))
        ended = history.events[-1].workflow_execution_continued_as_new_event_attributes
        run_id = ended.new_execution_run_id or None
    return found


async def children_begun(runner: Runner, handle: WorkflowHandle) -> None:
    """Wait until a child of a run waits for something."""
    found = await until(lambda: children(runner, handle))
    await begun(runner.client.get_workflow_handle(found[0][0]))


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("scenario", LOOPS, ids=lambda scenario: scenario.name)
async def test_scenario(scenario: Scenario, skipping: Runner, real_time: Runner) -> None:
    runner = real_time if scenario.real_time else skipping
    start = runner.start_of(definition_text(scenario), INPUT, history_limit=scenario.history_limit)
    handle = await runner.start(start)
    if scenario.act is not None:
        await (children_begun(runner, handle) if "batch" in scenario.name else begun(handle))
        await scenario.act(handle)
    ended = await runner.end(handle)
    await judge(scenario, ended, runner)
    if os.environ.get("RECORD_HISTORIES"):
        for number, (workflow_id, run_id) in enumerate(await children(runner, handle)):
            await keep(runner.client, workflow_id, run_id, f"{scenario.name}-child{number}")
