"""Budgets over runs that start runs: who waits for a call counts it, too."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from activities.ai import preload
from activities.errors import ActionError
from activities.registry import load
from db import ai_ledger, definitions, runs
from db.engine import Database
from db.ids import new_id
from schemas.validation import load_definition
from tests.integration.activities.ai_desk import Desk, config_of
from tests.servers.ai_server import AiServer

# In and out of one answer of the server.
TOKENS = 18


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    await preload()
    async with AiServer() as server:
        yield Desk(database, server, config_of(server))


async def a_run(
    desk: Desk,
    limits: str = "",
    parent: str | None = None,
    path: str = "sub",
    detached: bool = False,
) -> str:
    """Store a run of a definition of its own with these limits."""
    name = f"tree-{uuid4().hex[:8]}"
    text = f"name: {name}\nlimits: {{{limits}}}\nsteps: [{{id: nap, type: delay, for: 1s}}]\n"
    document = load_definition(text, load())
    run = runs.Run(
        id=new_id(),
        workspace=desk.workspace,
        definition=name,
        version=1,
        parent_run_id=parent,
        parent_path=None if parent is None else path,
        detached=detached,
        workflow_id=new_id(),
    )
    async with desk.database.session() as session:
        await definitions.create(
            session,
            desk.workspace,
            name,
            document.model_dump(mode="json", by_alias=True, exclude_unset=True),
            source=text,
        )
        await runs.insert_child(session, run)
    return run.id


async def spent(desk: Desk, run_id: str) -> int:
    """Tokens that the run's budget has counted."""
    async with desk.database.session() as session:
        scope = ai_ledger.run_scope(run_id)
        return (await ai_ledger.spent(session, desk.workspace, scope)).tokens


async def refused(desk: Desk) -> ActionError:
    with pytest.raises(ActionError) as caught:
        await desk.ask(max_tokens=1000)
    assert caught.value.code == "LIMIT_EXCEEDED"
    return caught.value


async def test_all_above_count_it_and_their_batches_do_not(desk: Desk) -> None:
    top = await a_run(desk)
    batch = await a_run(desk, parent=top, path="each[200]")
    below = await a_run(desk, parent=batch, path="each[207].sub")
    desk.run_id = await a_run(desk, parent=below)
    await desk.ask()
    counted = [await spent(desk, run_id) for run_id in (desk.run_id, below, batch, top)]
    assert counted == [TOKENS, TOKENS, 0, TOKENS]
    (row,) = await desk.ledger()
    assert (row.budget_run_id, row.budget_above) == (desk.run_id, [below, top])
    desk.run_id = batch
    await desk.ask()
    assert await spent(desk, top) == 2 * TOKENS


async def test_the_budget_above_refuses_before_the_call(desk: Desk) -> None:
    top = await a_run(desk, "ai_tokens: 50")
    desk.run_id = await a_run(desk, "ai_tokens: 100000", parent=top)
    fault = await refused(desk)
    assert "a run above" in fault.message
    assert (fault.details["run_id"], fault.details["tokens"]) == (top, 50)
    assert desk.server.calls == []
    assert [await spent(desk, run_id) for run_id in (desk.run_id, top)] == [0, 0]
    # Its own is asked first, and each of a tree has one.
    desk.run_id = await a_run(desk, "ai_tokens: 50", parent=await a_run(desk, "ai_tokens: 100000"))
    assert "the run's AI budget" in (await refused(desk)).message


async def test_sub_runs_at_once_do_not_overrun_the_budget_above(desk: Desk) -> None:
    top = await a_run(desk, "ai_tokens: 2500")
    desks = [
        Desk(desk.database, desk.server, desk.config, desk.workspace, await a_run(desk, parent=top))
        for _ in range(6)
    ]
    desk.server.delay = 0.3
    asking = [each.ask(max_tokens=1000) for each in desks]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(answer, ActionError) for answer in answers) == 4
    assert len(desk.server.calls) == 2
    assert await spent(desk, top) == 2 * TOKENS


async def test_a_detached_run_has_its_own_alone(desk: Desk) -> None:
    top = await a_run(desk, "ai_tokens: 50")
    apart = await a_run(desk, "ai_tokens: 100000", parent=top, detached=True)
    desk.run_id = await a_run(desk, parent=apart)
    await desk.ask(max_tokens=1000)
    assert [await spent(desk, run_id) for run_id in (desk.run_id, apart, top)] == [
        TOKENS,
        TOKENS,
        0,
    ]
