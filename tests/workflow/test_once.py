"""Effects in doubt in the interpreter: held, decided about, over with. Recorded for replay."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.client import Client

from activities.registry import load
from activities.services import Services
from db import deliveries
from db.engine import Database
from tests.kit.acts import held, until
from tests.kit.judging import judge
from tests.kit.once_scenarios import ONCE, OnceScenario
from tests.kit.running import Runner
from tests.kit.scenarios import definition_text
from tests.servers.wire import Received, WireServer, respond
from workflows.worker_options import build_worker

PATH = "order"


@dataclass
class Shop:
    """Loses the line to the first orders."""

    lost: int = 0

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self.lost:
            self.lost -= 1
            writer.close()
        else:
            respond(writer, 201)


@pytest.fixture(scope="module")
async def runner(client: Client, services: Services) -> AsyncIterator[Runner]:
    found = load()
    async with build_worker(client, found.activities(services), task_queue="once"):
        yield Runner(client, "once", found)


@pytest.mark.parametrize("scenario", ONCE, ids=lambda scenario: scenario.name)
async def test_an_effect_in_doubt(
    scenario: OnceScenario, runner: Runner, database: Database
) -> None:
    async with WireServer(Shop(scenario.lost)) as server:
        start = runner.start_of(definition_text(scenario), {"url": server.url})
        handle = await runner.start(start)
        for decision in scenario.decisions:
            await until(handle, held(PATH))
            if decision in ("sent", "unsent"):
                async with database.session() as session:
                    assert await deliveries.decide(
                        session,
                        f"{start.run_id}:{PATH}",
                        sent=decision == "sent",
                        output={"status": 201},
                    )
            action = decision if decision in ("skip", "abort") else "retry"
            await handle.execute_update("decide", {"path": PATH, "action": action})
        await judge(scenario, await runner.end(handle), runner)
        assert len(server.requests) == scenario.orders
        keys = {request.headers["idempotency-key"] for request in server.requests}
        assert len(keys) == 1
