"""Sealed payloads in Temporal's Web UI: read by a browser that has signed in, and by no other."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

import pytest
from httpx2 import AsyncClient
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from activities.registry import load
from activities.services import Services
from api.codec_session import COOKIE
from db.engine import Database
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from tests.browser.conftest import PATIENCE
from tests.integration.api.conftest import YAML, a_name, until_status
from tests.integration.sealed.conftest import make_app
from tests.kit.journey import Journey
from tests.kit.sealing import sealing
from tests.kit.serving import served
from workflows.gateway import Gateway
from workflows.setup import connect
from workflows.worker_options import build_worker

DECODE = "/api/v1/codec/decode"
# As the Web UI shows what it cannot read: bytes in base64.
SEALED = re.compile(r"[A-Za-z0-9+/]{60}")
GIVEN, MADE = "ada@example.com", "Dear Ada, welcome"
QUEUE = "sealed-in-the-browser"
ECHO = """
name: {name}
input: {{type: object, properties: {{email: {{type: string}}}}}}
output: {{letter: "{{{{ vars.letter }}}}"}}
steps:
  - {{id: write, type: set, vars: {{letter: "Dear Ada, welcome"}}}}
"""


@dataclass(frozen=True)
class Place:
    """The page of a run that has ended, and what people enter as the codec server."""

    history: str
    codec: str


@pytest.fixture(scope="module")
async def place(
    temporal_address: str,
    web_ui: str,
    database: Database,
    services: Services,
    catalogue: Catalogue,
    keyring: KeyRing,
) -> AsyncIterator[Place]:
    """A run whose payloads are sealed."""
    client = await connect(temporal_address, codec=sealing())
    gateway = Gateway(client, task_queue=QUEUE, deadline=15)
    app = make_app(database, gateway, catalogue, keyring, 1, ui_origin=web_ui)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            build_worker(
                client,
                load().activities(services),
                task_queue=QUEUE,
                graceful_shutdown=timedelta(seconds=2),
            )
        )
        address = await stack.enter_async_context(served(app))
        headers = {"Authorization": f"Bearer {Journey.API_KEY}"}
        api = await stack.enter_async_context(
            AsyncClient(base_url=address, headers=headers, timeout=60)
        )
        name = a_name()
        made = await api.post(
            "/api/v1/definitions?publish=true", content=ECHO.format(name=name), headers=YAML
        )
        assert made.status_code == 201, made.text
        started = await api.post(
            f"/api/v1/definitions/{name}/runs", json={"input": {"email": GIVEN}}
        )
        run = await until_status(api, started.json()["id"], "completed")
        workflow = quote(run["workflow_id"], safe="")
        described = await client.get_workflow_handle(run["workflow_id"]).describe()
        base = f"{web_ui}/namespaces/default/workflows/{workflow}/{described.run_id}"
        yield Place(f"{base}/history", f"{address}/api/v1/codec")


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that nobody has used yet."""
    context = await browser.new_context(viewport={"width": 1400, "height": 1400})
    context.set_default_timeout(PATIENCE)
    yield context
    await context.close()


@pytest.fixture
async def page(context: BrowserContext, place: Place) -> Page:
    """The run in the Web UI, which has been told of the codec server as people tell it."""
    page = await context.new_page()
    await page.goto(place.history)
    await is_unreadable(page)
    await page.get_by_role("button", name="Configure Codec Server").click()
    dialog = page.get_by_role("dialog", name="Codec Server")
    await dialog.get_by_label("Use my browser setting").check()
    await dialog.get_by_placeholder("Paste your endpoint here").fill(place.codec)
    # The box itself is hidden under what is drawn for it.
    await dialog.get_by_text("Include cross-origin credentials").click()
    await expect(dialog.get_by_label("Include cross-origin credentials")).to_be_checked()
    await dialog.get_by_role("button", name="Apply").click()
    await expect(dialog).to_be_hidden()
    return page


async def sign_in(context: BrowserContext, place: Place, key: str) -> Page:
    """Sign in at the codec server's page, in a tab of its own."""
    page = await context.new_page()
    await page.goto(f"{place.codec}/sign-in")
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    return page


async def reload(page: Page, statuses: set[int]) -> None:
    """Load the run's page anew; the codec server answers with one of these."""
    async with page.expect_response(lambda answer: answer.url.split("?")[0].endswith(DECODE)) as on:
        await page.reload()
    assert (await on.value).status in statuses


async def is_unreadable(page: Page) -> None:
    """What the run was given and what it made is there, and is not to be read."""
    for number in (0, 1):
        await expect(shown(page, number)).to_contain_text(SEALED)
    text = await page.content()
    assert GIVEN not in text
    assert MADE not in text


async def names(context: BrowserContext) -> set[str]:
    """The names of the browser's cookies."""
    return {cookie.get("name", "") for cookie in await context.cookies()}


async def is_readable(page: Page) -> None:
    await expect(shown(page, 0)).to_contain_text(GIVEN)
    await expect(shown(page, 1)).to_contain_text(MADE)


def shown(page: Page, number: int) -> Locator:
    """What the page shows of the input (0) and of the result (1)."""
    return page.get_by_role("textbox", name=("Input", "Result")[number], exact=True)


async def test_without_a_good_key_nothing_is_read(
    page: Page, context: BrowserContext, place: Place
) -> None:
    await reload(page, {401})
    await is_unreadable(page)
    refused = await sign_in(context, place, "wf_live_000000000000_wrong")
    await expect(refused.get_by_role("alert")).to_contain_text("The API key is wrong")
    assert COOKIE not in await names(context)
    await reload(page, {401})
    await is_unreadable(page)
    # Nor is a cookie that somebody made up.
    made_up = {"name": COOKIE, "value": "payload-test:AAAA", "domain": "127.0.0.1", "path": "/"}
    await context.add_cookies([made_up])  # pyright: ignore[reportArgumentType]
    await reload(page, {401})
    await is_unreadable(page)


async def test_who_has_signed_in_reads_it_until_signing_out(
    page: Page, context: BrowserContext, place: Place
) -> None:
    told = await sign_in(context, place, Journey.API_KEY)
    await expect(told.get_by_role("status")).to_contain_text("Signed in as key:bootstrap")
    await reload(page, {200})
    await is_readable(page)
    await expect(page.get_by_role("button", name="Codec Server succes")).to_be_visible()
    # No page can read the cookie, and the address holds nothing.
    assert COOKIE in await names(context)
    assert COOKIE not in await told.evaluate("document.cookie")
    assert Journey.API_KEY not in told.url + page.url

    await told.get_by_role("button", name="Sign out").click()
    await expect(told.get_by_role("alert")).to_contain_text("You are signed out")
    assert COOKIE not in await names(context)
    await reload(page, {401})
    await is_unreadable(page)


async def test_a_page_of_another_origin_reads_nothing(
    page: Page, context: BrowserContext, place: Place
) -> None:
    await (await sign_in(context, place, Journey.API_KEY)).get_by_role("status").wait_for()
    ask = """([url, mode, type]) => fetch(url, {
        method: "POST", mode, credentials: "include",
        headers: {"content-type": type}, body: '{"payloads": []}',
    }).then((answer) => answer.status, () => "refused")"""
    url = place.codec + "/decode"
    # The control: what the Web UI's own page may do.
    assert await page.evaluate(ask, [url, "cors", "application/json"]) == 200

    # Of the same site, so that the browser does send the cookie.
    elsewhere = "http://127.0.0.1:9/"
    await context.route(f"{elsewhere}**", lambda route: route.fulfill(body="<h1>Elsewhere</h1>"))
    other = await context.new_page()
    await other.goto(elsewhere)
    assert await other.evaluate(ask, [url, "cors", "application/json"]) == "refused"
    assert await other.evaluate(ask, [url, "cors", "text/plain"]) == "refused"
    async with other.expect_request(url) as asked:
        assert await other.evaluate(ask, [url, "no-cors", "text/plain"]) == "refused"
    assert COOKIE in (await (await asked.value).all_headers()).get("cookie", "")
