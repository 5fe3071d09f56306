"""A run in Temporal's own Web UI: readable without knowing Temporal, and steerable."""

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from playwright.async_api import Browser, Page, expect
from temporalio.worker import Worker

from db.engine import Database
from dev.examples import publish_examples
from dev.mailbox import Mailbox
from schemas.run import RunStatus
from tests.browser.conftest import PATIENCE
from tests.kit.journey import Journey, submit


@pytest.fixture
async def journey(
    app: FastAPI,
    api: AsyncClient,
    database: Database,
    smtp: Mailbox,
    worker: Worker,
) -> Journey:
    """A lead who has been welcomed and has three days to answer."""
    await publish_examples(api)
    journey = await submit(app, api, database, smtp, 5000)
    await journey.waiting_at("think")
    return journey


@pytest.fixture
async def page(browser: Browser, web_ui: str, journey: Journey) -> AsyncIterator[Page]:
    """The run's events in the Web UI."""
    page = await browser.new_page(viewport={"width": 1400, "height": 1400})
    page.set_default_timeout(PATIENCE)
    workflow = quote(journey.workflow_id, safe="")
    run = (await journey.row()).temporal_run_id
    await page.goto(f"{web_ui}/namespaces/default/workflows/{workflow}/{run}/history")
    yield page
    await page.close()


async def has_status(journey: Journey, status: RunStatus) -> None:
    async with asyncio.timeout(journey.deadline):
        while (await journey.row()).status is not status:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def send_signal(page: Page, name: str) -> None:
    """Send one of the signals that the dialog offers."""
    await page.get_by_role("button", name="More Actions").click()
    await page.get_by_role("menuitem", name="Send a Signal").click()
    dialog = page.get_by_role("dialog", name="Send a Signal")
    await dialog.get_by_test_id("signal-select-button").click()
    await dialog.get_by_role("option", name=name, exact=True).click()
    await dialog.get_by_role("button", name="Submit").click()
    await expect(dialog).to_be_hidden()


async def test_a_run_is_readable(page: Page, journey: Journey) -> None:
    header = page.locator("main")
    await expect(header).to_contain_text(journey.workflow_id)
    await expect(header.get_by_role("link", name="lead-nurture", exact=True)).to_be_visible()

    # The titles of the steps stand in the list of events, the path in an event's details.
    rows = page.get_by_test_id("event-summary-row")
    for kind, title in (
        ("Local Activity", "Is the budget large enough?"),
        ("Activity Task Scheduled", "Welcome with a booking link"),
        ("Activity Task Scheduled", "Mark the lead contacted"),
        ("Timer Started", "Three days to answer"),
    ):
        await expect(rows.filter(has_text=kind).filter(has_text=title)).to_have_count(1)
    await rows.filter(has_text="Welcome with a booking link").get_by_role("link").first.click()
    await expect(header).to_contain_text(re.compile(r"Activity ID\s*welcome"))

    await page.get_by_role("tab", name="User Metadata").click()
    summary, current = (
        page.frame_locator(f"#user-metadata-{part}") for part in ("summary", "current-details")
    )
    await expect(summary.locator("body")).to_contain_text("Lead nurture v1")
    await expect(current.locator("body")).to_contain_text("Lead nurture version 1: waiting")
    table = current.locator("tbody tr")
    await expect(table).to_have_count(5)
    await expect(table.nth(2)).to_contain_text(re.compile(r"welcome\s*completed"))
    await expect(table.nth(4)).to_contain_text(re.compile(r"think\s*waiting\s*sleeps for 3d until"))

    await page.get_by_role("tab", name="Search Attributes").click()
    for line in (
        '"DefinitionVersion": 1',
        f'"Lead": "{journey.lead_id}"',
        '"RunStatus": "waiting"',
        '"Workspace": "default"',
    ):
        await expect(header).to_contain_text(line)


async def test_a_run_is_paused_and_cancelled_by_hand(page: Page, journey: Journey) -> None:
    await send_signal(page, "pause")
    await has_status(journey, RunStatus.PAUSED)
    # The dialog of a page that has sent one signal stays busy with the next.
    await page.reload()
    await send_signal(page, "resume")
    await has_status(journey, RunStatus.WAITING)
    await page.get_by_role("button", name="Request Cancellation").click()
    dialog = page.get_by_role("dialog", name="Cancel Workflow")
    await dialog.get_by_role("button", name="Confirm").click()
    await has_status(journey, RunStatus.CANCELLED)
    await expect(page.get_by_test_id("execution-status").first).to_have_text(
        re.compile("cancel", re.IGNORECASE)
    )
