"""The lead journey from the public form to the last mail, with its true days of delay.

The time-skipping server skips only inside `sleep` and while a result is awaited; its clock may be
ahead of the real one, so that what leads do is told with the server's own time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from temporalio.testing import WorkflowEnvironment

from activities.registry import load
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from dev.examples import publish_examples
from dev.mailbox import Mailbox
from schemas.actions import Catalogue
from tests.kit.journey import ADDRESS, Journey, submit
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

QUEUE = "journey"
THREE_DAYS, FOUR_DAYS = timedelta(days=3), timedelta(days=4)
WELCOME, FOLLOWUP = "Welcome, Ada", "Ada, is it still of interest?"
WELCOMED = ["begin", "qualified", "welcome", "contacted", "think", "replied"]
FOLLOWED = [*WELCOMED, "booked_early", "followup", "last_chance", "booked"]

Submit = Callable[..., Awaitable[Journey]]


@pytest.fixture(scope="module")
async def journey_app(
    time_skipping: WorkflowEnvironment,
    database: Database,
    services: Services,
    catalogue: Catalogue,
) -> AsyncIterator[FastAPI]:
    """The API and a worker on the time-skipping server."""
    client = time_skipping.client
    async with build_worker(client, load().activities(services), task_queue=QUEUE):
        yield create_app(
            database=database,
            # The first start also waits for the server's own warming up.
            gateway=Gateway(client, task_queue=QUEUE, deadline=10),
            catalogue=catalogue,
            config=ApiConfig(api_key=Journey.API_KEY),
        )


@pytest.fixture(scope="module")
async def operator(journey_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client with the key; the examples are published through it."""
    async with AsyncClient(
        transport=ASGITransport(app=journey_app),
        base_url=ADDRESS,
        headers={"Authorization": f"Bearer {Journey.API_KEY}"},
    ) as client:
        await publish_examples(client)
        yield client


@pytest.fixture
def submitted(
    journey_app: FastAPI, operator: AsyncClient, database: Database, smtp: Mailbox
) -> Submit:
    """Call it to submit the form, by default with a budget that is large enough."""

    async def begin(budget: int = 5000) -> Journey:
        return await submit(journey_app, operator, database, smtp, budget)

    return begin


async def skip_to_end(environment: WorkflowEnvironment, journey: Journey, days: int) -> str:
    """Skip so many days, wait for the run's end and give its result."""
    await environment.sleep(timedelta(days=days, minutes=5))
    handle = environment.client.get_workflow_handle(journey.workflow_id)
    async with asyncio.timeout(journey.deadline):
        output = await handle.result()
    return output["result"]


async def test_a_small_budget_ends_at_once(
    time_skipping: WorkflowEnvironment, submitted: Submit
) -> None:
    before = await time_skipping.get_current_time()
    journey = await submitted(budget=1999)
    handle = time_skipping.client.get_workflow_handle(journey.workflow_id)
    async with asyncio.timeout(journey.deadline):
        assert await handle.result() == {"result": "unqualified"}
    path = ["begin", "qualified", "reject", "unqualified"]
    await journey.check_completed("unqualified", path)
    lead = await journey.lead()
    assert lead["status"] == "failed"
    assert lead["fields"] == {"budget": 1999, "reason": "budget"}
    assert (lead["name"], lead["company"]) == ("Ada", "Analytical Engines")
    assert journey.mails == []
    assert await time_skipping.get_current_time() - before < timedelta(hours=1)


async def test_a_reply_within_the_three_days(
    time_skipping: WorkflowEnvironment, submitted: Submit
) -> None:
    before = await time_skipping.get_current_time()
    journey = await submitted()
    think = await journey.waiting_at("think")
    assert think.started_at is not None
    assert think.until is not None
    assert timedelta(0) <= think.until - think.started_at - THREE_DAYS < timedelta(minutes=1)
    assert (await journey.lead())["status"] == "contacted"
    await journey.tell("replied", await time_skipping.get_current_time())
    assert await skip_to_end(time_skipping, journey, 3) == "replied"
    await journey.check_completed("replied", [*WELCOMED, "engaged", "answered"])
    assert (await journey.lead())["status"] == "engaged"
    journey.check_mails(WELCOME)
    assert await time_skipping.get_current_time() - before >= THREE_DAYS


async def test_a_booking_within_the_three_days(
    time_skipping: WorkflowEnvironment, submitted: Submit
) -> None:
    journey = await submitted()
    await journey.waiting_at("think")
    # A day later: the run still sleeps, and a booking then counts as well.
    await time_skipping.sleep(timedelta(days=1))
    await journey.waiting_at("think")
    await journey.tell("booked", await time_skipping.get_current_time())
    assert await skip_to_end(time_skipping, journey, 2) == "booked"
    path = [*WELCOMED, "booked_early", "won_early", "booked_at_once"]
    steps = await journey.check_completed("booked", path)
    assert (await journey.lead())["status"] == "won"
    journey.check_mails(WELCOME)
    assert steps["think"].duration_ms is not None
    assert steps["think"].duration_ms >= THREE_DAYS / timedelta(milliseconds=1)


async def test_a_booking_after_the_followup(
    time_skipping: WorkflowEnvironment, submitted: Submit
) -> None:
    before = await time_skipping.get_current_time()
    journey = await submitted()
    await journey.waiting_at("think")
    await time_skipping.sleep(THREE_DAYS + timedelta(minutes=5))
    chance = await journey.waiting_at("last_chance")
    assert chance.started_at is not None
    assert chance.until is not None
    assert timedelta(0) <= chance.until - chance.started_at - FOUR_DAYS < timedelta(minutes=1)
    journey.check_mails(WELCOME, FOLLOWUP)
    await journey.tell("booked", await time_skipping.get_current_time())
    assert await skip_to_end(time_skipping, journey, 4) == "booked"
    await journey.check_completed("booked", [*FOLLOWED, "won", "keep_booked"])
    assert (await journey.lead())["status"] == "won"
    journey.check_mails(WELCOME, FOLLOWUP)
    assert await time_skipping.get_current_time() - before >= THREE_DAYS + FOUR_DAYS


async def test_silence_to_the_end(time_skipping: WorkflowEnvironment, submitted: Submit) -> None:
    before = await time_skipping.get_current_time()
    journey = await submitted()
    await journey.waiting_at("think")
    assert await skip_to_end(time_skipping, journey, 8) == "silent"
    path = [*FOLLOWED, "late_reply", "give_up", "keep_silent"]
    steps = await journey.check_completed("silent", path)
    lead = await journey.lead()
    assert lead["status"] == "failed"
    assert lead["fields"] == {"budget": 5000, "reason": "silence"}
    journey.check_mails(WELCOME, FOLLOWUP)
    welcomed, followed = steps["welcome"].finished_at, steps["followup"].started_at
    assert welcomed is not None
    assert followed is not None
    assert followed - welcomed >= THREE_DAYS
    assert await time_skipping.get_current_time() - before >= THREE_DAYS + FOUR_DAYS
