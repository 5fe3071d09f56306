"""The lead journey on Temporal's development server, where three days pass in one second."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from temporalio.client import Client
from temporalio.worker import Worker

from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from dev.examples import publish_examples
from dev.mailbox import Mailbox
from schemas.actions import Catalogue
from tests.kit.journey import ADDRESS, Journey, submit
from workflows.gateway import Gateway

TIMESCALE = timedelta(days=3) / timedelta(seconds=1)
WELCOME, FOLLOWUP = "Welcome, Ada", "Ada, is it still of interest?"
WELCOMED = ["begin", "qualified", "welcome", "contacted", "think", "replied"]

Submit = Callable[[], Awaitable[Journey]]


@pytest.fixture(scope="module")
def hurried(
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
    worker: Worker,
) -> FastAPI:
    """The API whose runs sleep a second for three days, with the suite's worker running."""
    return create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=Journey.API_KEY, timescale=TIMESCALE),
    )


@pytest.fixture(scope="module")
async def operator(hurried: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client with the key; the examples are published through it."""
    async with AsyncClient(
        transport=ASGITransport(app=hurried),
        base_url=ADDRESS,
        headers={"Authorization": f"Bearer {Journey.API_KEY}"},
    ) as client:
        await publish_examples(client)
        yield client


@pytest.fixture
def submitted(hurried: FastAPI, operator: AsyncClient, database: Database, smtp: Mailbox) -> Submit:
    """Call it to submit the form with a budget that is large enough."""

    async def begin() -> Journey:
        return await submit(hurried, operator, database, smtp, 5000)

    return begin


async def result(client: Client, journey: Journey) -> str:
    """Wait for the run's end in Temporal and give its result."""
    async with asyncio.timeout(journey.deadline):
        output = await client.get_workflow_handle(journey.workflow_id).result()
    return output["result"]


async def test_silence_to_the_end(client: Client, submitted: Submit) -> None:
    journey = await submitted()
    assert await result(client, journey) == "silent"
    path = [*WELCOMED, "booked_early", "followup", "last_chance", "booked"]
    path += ["late_reply", "give_up", "keep_silent"]
    steps = await journey.check_completed("silent", path)
    lead = await journey.lead()
    assert lead["status"] == "failed"
    assert lead["fields"] == {"budget": 5000, "reason": "silence"}
    journey.check_mails(WELCOME, FOLLOWUP)
    first, second = journey.mails
    assert second.received_at - first.received_at >= timedelta(seconds=1)
    for path_of, least in (("think", 1000), ("last_chance", 1333)):
        slept = steps[path_of].duration_ms
        assert slept is not None
        assert least <= slept < 10_000


async def test_a_reply_in_time(client: Client, submitted: Submit) -> None:
    journey = await submitted()
    await journey.mailbox.wait_for(1, to=journey.email, deadline=60)
    await journey.tell("replied", datetime.now(UTC))
    assert await result(client, journey) == "replied"
    await journey.check_completed("replied", [*WELCOMED, "engaged", "answered"])
    lead = await journey.lead()
    assert lead["status"] == "engaged"
    assert lead["last_replied_at"] is not None
    journey.check_mails(WELCOME)
