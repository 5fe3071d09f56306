"""The actions that touch the world, each with every way to end, on real servers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from temporalio.client import Client

from activities.ai import preload
from activities.registry import load
from activities.services import Services
from db import leads
from db.engine import Database
from dev.mailbox import Mailbox
from schemas.run import Lead
from tests.kit.action_scenarios import ACTION_SCENARIOS, GONE, ActionScenario, World, world
from tests.kit.judging import judge
from tests.kit.running import Runner
from tests.kit.scenarios import definition_text
from workflows.worker_options import build_worker


@dataclass(frozen=True)
class Stage:
    """A runner whose worker reaches the servers of `world`."""

    runner: Runner
    world: World


@pytest.fixture(scope="module")
async def stage(client: Client, database: Database, services: Services) -> AsyncIterator[Stage]:
    await preload()
    async with world() as servers:
        own = Services(
            database=database,
            mail=services.mail,
            http_config=services.http_config,
            ai=servers.ai_config,
        )
        found = load()
        async with build_worker(client, found.activities(own), task_queue="actions"):
            yield Stage(Runner(client, "actions", found), servers)
        await own.aclose()


@pytest.fixture
async def lead(database: Database) -> Lead:
    async with database.session() as session:
        row = await leads.upsert(session, "default", f"ada-{uuid4().hex}@example.com", name="Ada")
    return Lead(id=row.id, email=row.email, name=row.name, status=row.status)


@pytest.mark.parametrize("scenario", ACTION_SCENARIOS, ids=lambda scenario: scenario.name)
async def test_action(scenario: ActionScenario, stage: Stage, lead: Lead, smtp: Mailbox) -> None:
    smtp.refuse = lambda address: "550 no such user" if address == GONE else None
    stage.world.prepare(scenario)
    given = {"email": "ada@example.com", "url": stage.world.http.url, "text": "Ada", "n": 3}
    start = stage.runner.start_of(definition_text(scenario), given, lead=lead)
    handle = await stage.runner.start(start)
    if scenario.act is not None:
        await stage.world.called()
        await scenario.act(handle)
    ended = await stage.runner.end(handle)
    await judge(scenario, ended, stage.runner)
    # The action did it, and no stand-in.
    assert len(smtp.messages) == (1 if scenario.name == "email-success" else 0)
    calls = len(stage.world.http.requests) + len(stage.world.ai.calls)
    expected = {"http": 1, "ai": 1, "http-retried": 2}
    kind = scenario.name.partition("-")[0]
    assert calls == expected.get(scenario.name, expected.get(kind, 0))
