"""The page of the API's operations, under a policy that lets nothing in from elsewhere."""

from fastapi import FastAPI
from playwright.async_api import Browser, expect

from tests.kit.serving import served


async def test_operations_are_shown_and_nothing_is_refused(app: FastAPI, browser: Browser) -> None:
    said: list[str] = []
    hosts: set[str] = set()
    page = await browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    async with served(app) as address:
        # The list is drawn as far as it is seen; an address leads to its place.
        await page.goto(f"{address}/api/v1/docs#/runs/start_run")
        start = page.locator('a[href$="/start_run"]')
        await expect(start).to_be_visible()
        await page.close()
    assert hosts == {address.removeprefix("http://")}
    assert [text for text in said if "Content Security Policy" in text] == []
