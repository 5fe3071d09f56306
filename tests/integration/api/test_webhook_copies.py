"""Copies of deliveries, all at once: however many come, each delivery starts one run."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import select
from temporalio.client import Client
from temporalio.worker import Worker

from api.circuit import Circuit
from api.config import ApiConfig
from api.outbox import run_outbox
from api.starting import Starter
from api.tenants import Tenants
from db import secrets
from db.base import now
from db.engine import Database
from db.runs import Run
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from tests.faults.evidence import figures
from tests.integration.api.conftest import API_KEY, Publish, a_name
from tests.kit.signing import PRESETS, Sent
from workflows.gateway import Gateway

COPIES = 10
AT_ONCE = 20
TRIVIAL = """
name: {name}
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
steps: [{{id: s, type: set, vars: {{x: 1}}}}]
"""


@pytest.fixture
async def dispatching(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> AsyncIterator[None]:
    """The API process's loop meanwhile, for what a busy machine has left undone."""
    config = ApiConfig(api_key=API_KEY)
    starter = Starter(database, gateway, config, catalogue, Circuit(gateway))
    running = asyncio.create_task(run_outbox(starter, Tenants(database, "default")))
    yield
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


class Posting:
    """Posts deliveries as their senders do: again when the answer asks for it."""

    def __init__(self, api: AsyncClient, token: str) -> None:
        self.api = api
        self.address = f"/api/v1/hooks/{token}"
        self.answers: Counter[int] = Counter()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def post(self, sent: Sent) -> Response:
        """Deliver one copy."""
        async with self._room, asyncio.timeout(180):
            while True:
                answer = await self.api.post(self.address, content=sent.body, headers=sent.headers)
                self.answers[answer.status_code] += 1
                if answer.status_code != 503:
                    return answer
                await asyncio.sleep(0.1)


def copies_of(number: int, name: str) -> list[Sent]:
    """Ten copies of one delivery, some of them without its id.

    A fifth of all deliveries has none at all; of the others two copies have lost theirs.
    Where the signature covers the id nobody can take it away, so there all copies have theirs.
    """
    preset = PRESETS[name]
    sent = preset.deliver(f"d-{number}", {"n": number}, now())
    if preset.id_header is None:
        return [sent] * COPIES
    stripped = {key: value for key, value in sent.headers.items() if key != preset.id_header}
    without = COPIES if number % 5 == 0 else 2
    return [Sent(stripped, sent.body)] * without + [sent] * (COPIES - without)


async def make(
    api: AsyncClient, publish: Publish, database: Database, keyring: KeyRing, **more: Any
) -> tuple[str, Posting]:
    """A definition and the way to its webhook, which GitHub posts to."""
    name = await publish(TRIVIAL)
    secret = a_name("hook").replace("-", "_")
    async with database.session() as session:
        await secrets.put(session, "default", secret, PRESETS["github"].secret, keyring)
    body = {
        "kind": "webhook",
        "verify": {"scheme": "github", "secrets": [secret]},
        "input": {"n": "{{ body.n }}"},
        **more,
    }
    made = (await api.post(f"/api/v1/definitions/{name}/triggers", json=body)).json()
    return name, Posting(api, made["token"])


async def storm(posting: Posting, deliveries: int) -> dict[int, set[str]]:
    """Post all copies of all deliveries in no order; gives the runs of each delivery."""
    pairs = [(number, sent) for number in range(deliveries) for sent in copies_of(number, "github")]
    random.Random(7).shuffle(pairs)
    answers = await asyncio.gather(*(posting.post(sent) for _, sent in pairs))
    found: dict[int, set[str]] = {}
    for (number, _), answer in zip(pairs, answers, strict=True):
        assert answer.status_code in (200, 202), answer.text
        found.setdefault(number, set()).add(answer.json()["run_id"])
    return found


async def rows_of(database: Database, definition: str) -> list[str]:
    """The ids of a definition's runs, from their table."""
    async with database.session() as session:
        return list((await session.exec(select(Run.id).where(Run.definition == definition))).all())


async def test_each_delivery_starts_one_run(
    api: AsyncClient,
    publish: Publish,
    database: Database,
    keyring: KeyRing,
    client: Client,
    worker: Worker,
    dispatching: None,
    long: bool,
) -> None:
    deliveries = 500 if long else 30
    definition, posting = await make(api, publish, database, keyring)
    found = await storm(posting, deliveries)
    assert all(len(runs) == 1 for runs in found.values())
    rows = await rows_of(database, definition)
    assert len(rows) == deliveries
    assert set(rows) == set.union(*found.values())
    # Each in Temporal once, and to its end.
    ended = 'ExecutionStatus = "Completed"'
    query = f'WorkflowType = "{definition}"'
    async with asyncio.timeout(180 if long else 60):
        while (await client.count_workflows(f"{query} AND {ended}")).count < deliveries:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    assert (await client.count_workflows(query)).count == deliveries
    assert posting.answers[202] == deliveries
    assert posting.answers[200] == deliveries * (COPIES - 1)
    figures("T13 copies of webhooks", deliveries=deliveries, copies_of_each=COPIES, runs=len(rows))


async def test_control_without_the_content_copies_count(
    api: AsyncClient, publish: Publish, database: Database, keyring: KeyRing, worker: Worker
) -> None:
    """The count above sees it when what lost its id is no longer recognised."""
    deliveries = 5
    definition, posting = await make(api, publish, database, keyring, dedupe="id")
    found = await storm(posting, deliveries)
    assert all(len(runs) > 1 for runs in found.values())
    without_id = COPIES + 4 * 2
    assert len(await rows_of(database, definition)) == without_id + 4


@pytest.mark.parametrize("name", ["standard", "stripe", "slack", "hmac"])
async def test_copies_of_signed_ids(
    api: AsyncClient,
    publish: Publish,
    database: Database,
    keyring: KeyRing,
    worker: Worker,
    name: str,
) -> None:
    definition = await publish(TRIVIAL)
    preset = PRESETS[name]
    secret = a_name("hook").replace("-", "_")
    async with database.session() as session:
        await secrets.put(session, "default", secret, preset.secret, keyring)
    body = {
        "kind": "webhook",
        "verify": {**preset.verify, "secrets": [secret]},
        "input": {"n": "{{ body.n }}"},
    }
    made = (await api.post(f"/api/v1/definitions/{definition}/triggers", json=body)).json()
    posting = Posting(api, made["token"])
    sent = [one for number in range(3) for one in copies_of(number, name)]
    answers = await asyncio.gather(*(posting.post(one) for one in sent))
    assert len({answer.json()["run_id"] for answer in answers}) == 3
    assert len(await rows_of(database, definition)) == 3
