"""Mails of running journeys: one click stops the next one, and a connection's rate is held.

The short form of the rate sends 40 mails at 600 a minute; SOJOURN_CHAOS=1 sends 200 at 50.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
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
from dev.mailbox import Mailbox
from schemas.actions import Catalogue
from tests.kit.mailing import KEYRING, PUBLIC_URL
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

QUEUE = "mail-runs"
API_KEY = "mail-key-0123456789"
_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
async def mailing(
    client: Client, services: Services, database: Database, catalogue: Catalogue
) -> AsyncIterator[AsyncClient]:
    """A client of an API, and a worker, that recipients reach and that have keys."""
    url = PUBLIC_URL
    own = replace(services, mail=replace(services.mail, public_url=url), keyring=KEYRING)
    app = create_app(
        database=database,
        gateway=Gateway(client, task_queue=QUEUE),
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, public_url=url),
        keyring=KEYRING,
    )
    async with (
        build_worker(client, load().activities(own), task_queue=QUEUE),
        AsyncClient(
            transport=ASGITransport(app=app),
            base_url=url,
            headers={"Authorization": f"Bearer {API_KEY}"},
        ) as found,
    ):
        yield found
    await own.aclose()


async def publish(api: AsyncClient, steps: list[dict[str, Any]]) -> str:
    name = f"mail-{uuid4().hex[:10]}"
    body = {"name": name, "steps": steps}
    answer = await api.post("/api/v1/definitions", params={"publish": True}, json=body)
    assert answer.status_code == 201, answer.text
    return name


async def start(api: AsyncClient, name: str, **body: Any) -> str:
    answer = await api.post(f"/api/v1/definitions/{name}/runs", json={"input": {}} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def ended(api: AsyncClient, run_id: str, deadline: float = 20) -> dict[str, dict[str, Any]]:
    """Wait until a run has completed; gives its steps by path."""
    async with asyncio.timeout(deadline):
        while (run := (await api.get(f"/api/v1/runs/{run_id}")).json())["status"] != "completed":
            assert run["status"] in ("queued", "running", "waiting"), run
            await asyncio.sleep(0.05)
    steps = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
    return {step["path"]: step for step in steps}


async def test_one_click_stops_the_next_mail_of_a_running_journey(
    mailing: AsyncClient, smtp: Mailbox
) -> None:
    mail = {"to": "{{ lead.email }}", "text": "Hi"}
    name = await publish(
        mailing,
        [
            {"id": "first", "type": "email", "with": mail | {"subject": "First"}},
            {"id": "think", "type": "wait", "signal": "go", "timeout": "1h"},
            {"id": "second", "type": "email", "with": mail | {"subject": "Second"}},
        ],
    )
    addresses = [f"{who}-{uuid4().hex[:8]}@example.com" for who in ("ada", "bob")]
    runs = [await start(mailing, name, lead={"email": address}) for address in addresses]
    for address in addresses:
        await smtp.wait_for(1, to=address)
    message = smtp.to(addresses[0])[0].message
    assert message["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    link = str(message["list-unsubscribe"]).strip("<>")
    # As a mail service does it: no key, no cookie, this body.
    del mailing.headers["Authorization"]
    opened = await mailing.get(urlsplit(link).path)
    clicked = await mailing.post(
        urlsplit(link).path,
        content=b"List-Unsubscribe=One-Click",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    mailing.headers["Authorization"] = f"Bearer {API_KEY}"
    assert (opened.status_code, clicked.status_code) == (200, 200)
    for run_id in runs:
        answer = await mailing.post(f"/api/v1/runs/{run_id}/signals/go", json={})
        assert answer.status_code < 300, answer.text
    gone, here = [(await ended(mailing, run_id))["second"]["output"] for run_id in runs]
    assert (gone["suppressed"], gone["accepted"]) == (True, [])
    assert (here["suppressed"], here["accepted"]) == (False, [addresses[1]])
    assert [one.subject for one in smtp.to(addresses[0])] == ["First"]
    assert [one.subject for one in smtp.to(addresses[1])] == ["First", "Second"]


async def test_the_rate_of_a_connection_is_held(
    mailing: AsyncClient, smtp: Mailbox, long: bool
) -> None:
    mails, per_minute = (200, 50) if long else (40, 600)
    connection = f"news-{uuid4().hex[:8]}"
    stored = await mailing.put(
        f"/api/v1/connections/{connection}",
        json={
            "kind": "smtp",
            "config": {
                "host": "127.0.0.1",
                "port": smtp.port,
                "tls": "none",
                "from_address": "news@news.example",
                "rate_per_minute": per_minute,
            },
        },
    )
    assert stored.is_success, stored.text
    to = f"rate-{uuid4().hex[:8]}@example.com"
    mail = {"to": to, "subject": "News", "text": "x", "connection": connection}
    once = {"id": "send", "type": "email", "with": mail, "retry": {"attempts": 1}}
    name = await publish(mailing, [once])
    room = asyncio.Semaphore(3)

    async def begin() -> str:
        async with room:
            return await start(mailing, name)

    runs = await asyncio.gather(*(begin() for _ in range(mails)))
    came = await smtp.wait_for(mails, to=to, deadline=mails * 62.5 / per_minute + 20)
    moments = sorted(one.received_at.timestamp() for one in came)
    most = max(sum(first <= one < first + 60 for one in moments) for first in moments)
    # How far a mail is ahead of its place, counted from the first one's; late ones are behind.
    interval = 62.5 / per_minute
    ahead = max(moments[0] + place * interval - one for place, one in enumerate(moments))
    steps = [(await ended(mailing, run_id))["send"] for run_id in runs]
    attempts = [step["attempts"] for step in steps]
    _log.warning(
        "%d mails at %d a minute: %.1f s from first to last, at most %d in any minute, %.2f s"
        " ahead of their places at most, widest gap %.2f s, attempts %d to %d",
        mails,
        per_minute,
        moments[-1] - moments[0],
        most,
        ahead,
        max(later - earlier for earlier, later in pairwise(moments)),
        min(attempts),
        max(attempts),
    )
    # Temporal's timers are late by parts of a second, the first mail's way out as well.
    assert ahead < 0.5
    assert most <= per_minute
    assert len({one.message_id for one in came}) == mails
    assert max(attempts) == 1
