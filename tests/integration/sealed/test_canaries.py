"""Leak canaries: 32 secrets and 20 addresses through runs that fail in every way they can."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.worker import Worker

from activities import ai
from activities.masking import Masks
from activities.registry import load
from activities.services import Services
from db.engine import Database
from dev.mailbox import Mailbox
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from settings import load_settings
from telemetry import Telemetry
from tests.faults.evidence import figures
from tests.integration.sealed.conftest import make_app
from tests.integration.test_secrets import echo
from tests.kit.canaries import Net, addresses_of, columns_with, product_log, secrets_of
from tests.kit.journey import Journey
from tests.kit.sealing import unsealed
from tests.servers.wire import WireServer
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

RUNS, SECRETS, ADDRESSES = 4, 8, 5
# Where addresses may be: columns of people, of mails, and of what runs were given and have said.
# Keys, counters, logs, audit and AI's books hold none.
PERSONAL = {
    "dead_letters.message",
    "event_waits.key",
    "lead_events.data",
    "leads.email",
    "mail_messages.result",
    "mail_messages.to_address",
    "run_steps.error",
    "run_steps.input",
    "run_steps.output",
    "runs.error",
    "runs.input",
}
STEPS = """
name: {name}
title: Canaries
input: {{type: object}}
output: {{all: "{{{{ steps }}}}"}}
steps:
  - id: echoed
    type: http
    with:
      method: POST
      url: "{url}/ok"
      headers: {{x-key: "{{{{ secrets.{s0} }}}}", authorization: "Bearer {{{{ secrets.{s1} }}}}"}}
      json: {{key: "{{{{ secrets.{s2} }}}}", mail: "{{{{ input.mails[0] }}}}"}}
  - id: inline
    type: http
    timeout: 5s
    on_error: continue
    retry: {{attempts: 2, initial: 10ms}}
    with:
      url: "{url}/fail?k={{{{ secrets.{s3} }}}}"
      headers: {{x-key: "{{{{ secrets.{s3} }}}}"}}
  - id: refused
    type: http
    on_error: continue
    retry: {{attempts: 2, initial: 10ms}}
    with: {{method: POST, url: "{url}/fail", headers: {{x-key: "{{{{ secrets.{s4} }}}}"}}, body: x}}
  - id: connected
    type: http
    on_error: continue
    retry: {{attempts: 1}}
    with: {{connection: {http}, url: /fail}}
  - id: asked
    type: ai
    on_error: continue
    timeout: 20s
    retry: {{attempts: 1}}
    with:
      connection: {openai}
      model: gpt-4o-mini
      prompt: "{{{{ input.mails[1] }}}} {{{{ secrets.{s4} }}}}"
  - id: mailed
    type: email
    with: {{to: "{{{{ input.mails[2] }}}}", subject: Hello, text: "For {{{{ input.mails[2] }}}}"}}
  - id: bounced
    type: email
    on_error: continue
    retry: {{attempts: 1}}
    with: {{connection: {smtp}, to: "{{{{ input.mails[3] }}}}", subject: Hello, text: Hello}}
  - id: coded
    type: code
    on_error: continue
    retry: {{attempts: 1}}
    with: {{source: "raise ValueError(mail)", inputs: {{mail: "{{{{ input.mails[4] }}}}"}}}}
  - {{id: misused, type: http, on_error: continue, with: {{url: "{{{{ input.mails[0] }}}}"}}}}
  - id: waited
    type: wait
    event: booking.completed
    key: "{{{{ input.mails[0] }}}}"
    timeout: 200ms
    on_timeout: continue
  - {{id: end, type: fail, code: STEP_FAILED, message: "no luck for {{{{ input.mails[1] }}}}"}}
"""


@dataclass
class Told:
    """What one round of runs has left behind."""

    runs: list[dict[str, Any]]
    answers: bytes
    secrets: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
async def outside() -> AsyncIterator[WireServer]:
    """A server that gives back what it got."""
    await ai.preload()
    async with WireServer(echo) as server:
        yield server


async def put(api: AsyncClient, url: str, body: dict[str, Any]) -> str:
    """Store something under a name of its own; gives the name."""
    name = f"s{uuid4().hex[:12]}"
    answer = await api.put(f"/api/v1/{url}/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return name


async def begin(
    api: AsyncClient, outside: WireServer, smtp: Mailbox, secrets: list[str], mails: list[str]
) -> str:
    """Store what one run needs and start it; gives its id."""
    named = {
        f"s{place}": await put(api, "secrets", {"value": value})
        for place, value in enumerate(secrets[:5])
    }
    http = {"base_url": f"{outside.url}", "auth": "bearer"}
    openai = {"base_url": f"{outside.url}/fail"}
    # It knows no AUTH, so that the password is of no use.
    mail = {"host": "127.0.0.1", "port": smtp.port, "tls": "none", "username": "me"}
    source = STEPS.format(
        name=f"canary-{uuid4().hex[:12]}",
        url=outside.url,
        http=await put(
            api, "connections", {"kind": "http", "config": http, "secrets": {"token": secrets[5]}}
        ),
        openai=await put(
            api,
            "connections",
            {"kind": "openai", "config": openai, "secrets": {"api_key": secrets[6]}},
        ),
        smtp=await put(
            api,
            "connections",
            {"kind": "smtp", "config": mail, "secrets": {"password": secrets[7]}},
        ),
        **named,
    )
    stored = await api.post(
        "/api/v1/definitions?publish=true",
        content=source,
        headers={"content-type": "application/yaml"},
    )
    assert stored.status_code == 201, stored.text
    name = stored.json()["name"]
    lead = {"email": mails[0], "name": "Ada"}
    answer = await api.post(
        f"/api/v1/definitions/{name}/runs",
        json={"input": {"mails": mails}, "lead": lead},
        headers={"Idempotency-Key": uuid4().hex},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def ended(api: AsyncClient, run: str) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while True:
            found = (await api.get(f"/api/v1/runs/{run}")).json()
            if found["finished_at"] is not None:
                return found
            await asyncio.sleep(0.1)


async def told(
    api: AsyncClient, outside: WireServer, smtp: Mailbox, seed: random.Random, runs: int
) -> Told:
    """Run it all to the end and ask the API for everything about it."""
    secrets, addresses = secrets_of(seed, runs * SECRETS), addresses_of(seed, runs * ADDRESSES)
    ids = [
        await begin(
            api,
            outside,
            smtp,
            secrets[n * SECRETS : (n + 1) * SECRETS],
            addresses[n * ADDRESSES : (n + 1) * ADDRESSES],
        )
        for n in range(runs)
    ]
    found = [await ended(api, run) for run in ids]
    asked = [f"runs/{run}{part}" for run in ids for part in ("", "/steps", "/logs", "/events")]
    asked += ["dead-letters", "connections", "secrets", "runs", "definitions", "deliveries"]
    answers = [(await api.get(f"/api/v1/{path}")).content for path in asked]
    return Told(found, b"\n".join(answers), secrets, addresses)


async def histories(client: Client, runs: list[dict[str, Any]]) -> bytes:
    """The histories as Temporal gives them to this client, in both of their forms."""
    parts: list[bytes] = []
    for run in runs:
        handle = client.get_workflow_handle(run["workflow_id"])
        history = await handle.fetch_history()
        parts += [event.SerializeToString() for event in history.events]
        parts.append(history.to_json().encode())
        description = await handle.describe()
        parts.append(description.raw_description.SerializeToString())
    return b"\n".join(parts)


async def test_no_canary_is_anywhere(
    api: AsyncClient,
    worker: Worker,
    outside: WireServer,
    smtp: Mailbox,
    outsider: Client,
    telemetry: Telemetry,
    database_url: str,
) -> None:
    number = random.SystemRandom().randrange(10**6)
    print(f"seed {number}")  # noqa: T201
    settings = load_settings(
        None, database_url=SecretStr(database_url), log_format="json", log_level="debug"
    )
    with product_log(settings) as log:
        left = await told(api, outside, smtp, random.Random(number), RUNS)
    assert (len(left.secrets), len(left.addresses)) == (32, 20)
    secrets, addresses = Net(left.secrets), Net(left.addresses)

    # It all went as it was meant to: each step that fails failed, in its own way.
    for run in left.runs:
        steps = (await api.get(f"/api/v1/runs/{run['id']}/steps")).json()
        codes = {step["path"]: (step["error"] or {}).get("code") for step in steps}
        assert codes == {
            "echoed": None,
            "inline": "HTTP_ERROR",
            "refused": "HTTP_ERROR",
            "connected": "HTTP_ERROR",
            "asked": "AI_UNAVAILABLE",
            "mailed": None,
            "bounced": codes["bounced"],
            "coded": "CODE_ERROR",
            "misused": "INVALID_INPUT",
            "waited": None,
            "end": "STEP_FAILED",
        }
        assert codes["bounced"] is not None
    # The other side has got them.
    wire = b"\n".join(json.dumps([r.target, r.headers]).encode() + r.body for r in outside.requests)
    assert len(secrets.caught(wire)) >= RUNS * 7

    kept = await histories(outsider, left.runs)
    assert secrets.caught(kept) == set()
    assert addresses.caught(kept) == set()
    for run in left.runs:
        history = await outsider.get_workflow_handle(run["workflow_id"]).fetch_history()
        assert unsealed(history) == []
    assert secrets.caught(left.answers) == set()
    assert secrets.caught(log.getvalue()) == set()
    assert addresses.caught(log.getvalue()) == set()
    metrics = await asyncio.to_thread(telemetry.render)
    assert b"temporal_" in metrics
    assert secrets.caught(metrics) | addresses.caught(metrics) == set()
    assert await columns_with(database_url, secrets) == {}
    columns = await columns_with(database_url, addresses)
    assert set(columns) - PERSONAL == set(), " ".join(sorted(columns))
    figures(
        "T19 leak canaries",
        secrets=len(left.secrets),
        addresses=len(left.addresses),
        runs=RUNS,
        bytes_searched=len(kept) + len(left.answers) + len(log.getvalue()) + len(metrics),
        hits=0,
    )


async def test_without_encryption_the_addresses_are_found(
    worker: Worker,
    outside: WireServer,
    smtp: Mailbox,
    outsider: Client,
    services: Services,
    database: Database,
    catalogue: Catalogue,
    keyring: KeyRing,
) -> None:
    """The control: the same net over the same runs, with payloads in the clear."""
    queue = "plain-canaries"
    app = make_app(
        database, Gateway(outsider, task_queue=queue, deadline=15), catalogue, keyring, 1
    )
    async with (
        build_worker(outsider, load().activities(services), task_queue=queue),
        client_of(app) as api,
    ):
        left = await told(api, outside, smtp, random.Random(1), 1)
    kept = await histories(outsider, left.runs)
    assert Net(left.addresses).caught(kept) == set(left.addresses)


async def test_without_masking_the_secrets_are_found(
    api: AsyncClient,
    worker: Worker,
    outside: WireServer,
    smtp: Mailbox,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: what the other side gives back goes unmasked."""
    monkeypatch.setattr(Masks, "text", lambda _, text: text)
    left = await told(api, outside, smtp, random.Random(2), 1)
    net = Net(left.secrets)
    assert len(net.caught(left.answers)) >= 4
    assert await columns_with(database_url, net)


def client_of(app: FastAPI) -> AsyncClient:
    return AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver",
        headers={"X-API-Key": Journey.API_KEY},
    )
