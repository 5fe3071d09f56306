"""From a mail over SMTP to the path of the run: opens, clicks, replies and bounces, end to end."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient
from temporalio.client import Client

from activities.registry import load
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from dev.mailbox import Mail, Mailbox
from schemas.actions import Catalogue
from tests.integration.test_mail_runs import ended, publish, start
from tests.kit.inbound_mails import bounce, reply
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

QUEUE = "mail-answers"
API_KEY = "mail-key-0123456789"
URL = "https://mail.example.com"
BROWSER = "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_5) AppleWebKit/605.1.15 Version/18.5"
MAIL = {"content-type": "message/rfc822"}
TRACKED = {
    "to": "{{ lead.email }}",
    "subject": "Offer",
    "html": "<body><p><a href='https://example.org/book?x=1'>Book</a></p></body>",
    "tracking": {"opens": True, "clicks": True},
}


@pytest.fixture(scope="module")
async def mailing(
    client: Client, services: Services, database: Database, catalogue: Catalogue
) -> AsyncIterator[AsyncClient]:
    """A client of an API, and a worker, that recipients reach."""
    own = replace(services, mail=replace(services.mail, public_url=URL))
    app = create_app(
        database=database,
        gateway=Gateway(client, task_queue=QUEUE, deadline=15),
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, public_url=URL),
    )
    async with (
        build_worker(client, load().activities(own), task_queue=QUEUE),
        AsyncClient(
            transport=ASGITransport(app=app),
            base_url=URL,
            headers={"Authorization": f"Bearer {API_KEY}"},
        ) as found,
    ):
        yield found
    await own.aclose()


@pytest.fixture
async def inbox(mailing: AsyncClient) -> str:
    """The path that a mail provider posts to."""
    made = await mailing.put(f"/api/v1/mail/inboxes/in-{uuid4().hex[:8]}", json={"kind": "webhook"})
    return urlsplit(made.json()["url"]).path


def condition(check: str, step: str | None = None) -> dict[str, Any]:
    given = {} if step is None else {"with": {"step": step}}
    name = check if step is None else f"{check}_{step}"
    return {"id": name, "type": "condition", "check": check, **given}


def links_of(mail: Mail) -> tuple[str, str]:
    """The paths of the pixel and of the link in the received HTML."""
    html = mail.html
    [pixel] = re.findall(rf'src="{URL}(/o/[^"]+\.gif)"', html)
    [click] = re.findall(rf'href="{URL}(/c/[^"]+)"', html)
    assert "example.org" not in html
    return pixel, click


async def ask(api: AsyncClient, path: str, **headers: str) -> int:
    request = api.build_request("GET", path, headers={"user-agent": BROWSER} | headers)
    del request.headers["authorization"]
    return (await api.send(request, follow_redirects=False)).status_code


async def go(api: AsyncClient, run_id: str) -> dict[str, dict[str, Any]]:
    assert (await api.post(f"/api/v1/runs/{run_id}/signals/go", json={})).status_code < 300
    return await ended(api, run_id)


async def test_a_person_opens_and_clicks_and_a_scanner_does_not(
    mailing: AsyncClient, smtp: Mailbox
) -> None:
    checks = ("email_opened", "email_clicked", "reply_received", "booking_completed")
    name = await publish(
        mailing,
        [
            {"id": "offer", "type": "email", "with": TRACKED},
            {"id": "think", "type": "wait", "signal": "go", "timeout": "1h"},
            *(condition(check) for check in checks),
            condition("email_opened", "offer"),
            condition("email_clicked", "offer"),
        ],
    )
    addresses = [f"{who}-{uuid4().hex[:8]}@home.example" for who in ("ada", "bob")]
    runs = [await start(mailing, name, lead={"email": address}) for address in addresses]
    # Bob's gateway looks into the mail as it comes, and prefetches what is in it.
    (bob,) = await smtp.wait_for(1, to=addresses[1])
    for path in links_of(bob):
        assert await ask(mailing, path) in (200, 302)
        assert await ask(mailing, path, **{"sec-purpose": "prefetch"}) in (200, 302)
    (ada,) = await smtp.wait_for(1, to=addresses[0])
    for run_id in runs:
        await waiting(mailing, run_id)
    # Ada takes her time: as long as a person needs at least. It is what is tested, no waiting for
    # something to happen.
    await asyncio.sleep(1.6)
    for path in links_of(ada):
        assert await ask(mailing, path) in (200, 302)
    seen = [await go(mailing, run_id) for run_id in runs]
    verdicts = [
        {path: step["output"] for path, step in steps.items() if step["type"] == "condition"}
        for steps in seen
    ]
    assert verdicts[0] == {
        "email_opened": True,
        "email_clicked": True,
        # An open is not a reply.
        "reply_received": False,
        "booking_completed": False,
        "email_opened_offer": True,
        "email_clicked_offer": True,
    }
    assert set(verdicts[1].values()) == {False}


async def test_a_reply_ends_a_wait_and_is_seen_by_a_condition(
    mailing: AsyncClient, smtp: Mailbox, inbox: str
) -> None:
    name = await publish(
        mailing,
        [
            {"id": "offer", "type": "email", "with": TRACKED},
            {
                "id": "answer",
                "type": "wait",
                "event": "email.replied",
                "key": "{{ lead.email }}",
                "where": "event.data.step == 'offer' && event.data.run_id == run.id",
                "timeout": "1h",
            },
            condition("reply_received"),
            condition("reply_received", "offer"),
            condition("email_opened"),
        ],
    )
    address = f"eve-{uuid4().hex[:8]}@home.example"
    run_id = await start(mailing, name, lead={"email": address})
    [mail] = await smtp.wait_for(1, to=address)
    for raw, kind in (
        (reply(address, mail.message_id, Auto_Submitted="auto-replied"), "auto_reply"),
        (reply(address, mail.message_id), "reply"),
    ):
        answer = await mailing.post(inbox, content=raw, headers=MAIL)
        assert answer.json()["kind"] == kind
    steps = await ended(mailing, run_id)
    assert steps["answer"]["output"]["text"] == "Yes, gladly.\n"
    assert steps["reply_received"]["output"] is True
    assert steps["reply_received_offer"]["output"] is True
    assert steps["email_opened"]["output"] is False


async def test_after_a_hard_bounce_the_journey_sends_no_more(
    mailing: AsyncClient, smtp: Mailbox, inbox: str
) -> None:
    plain = {"to": "{{ lead.email }}", "text": "Hi"}
    name = await publish(
        mailing,
        [
            {"id": "first", "type": "email", "with": plain | {"subject": "First"}},
            {"id": "think", "type": "wait", "signal": "go", "timeout": "1h"},
            {"id": "second", "type": "email", "with": plain | {"subject": "Second"}},
        ],
    )
    address = f"gone-{uuid4().hex[:8]}@home.example"
    run_id = await start(mailing, name, lead={"email": address})
    [mail] = await smtp.wait_for(1, to=address)
    await waiting(mailing, run_id)
    answer = await mailing.post(inbox, content=bounce(address, mail.message_id), headers=MAIL)
    assert answer.json()["kind"] == "bounce"
    second = (await go(mailing, run_id))["second"]["output"]
    assert (second["suppressed"], second["accepted"]) == (True, [])
    assert [one.subject for one in smtp.to(address)] == ["First"]


async def waiting(api: AsyncClient, run_id: str) -> None:
    """Wait until the mail is closed and the run stands at its wait."""
    async with asyncio.timeout(20):
        while True:
            if (await api.get(f"/api/v1/runs/{run_id}")).json()["status"] == "waiting":
                return
            await asyncio.sleep(0.05)
