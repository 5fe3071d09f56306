"""The webhook action in runs: verified by its receiver, with the attempts that its pace needs."""

import asyncio
import base64
from typing import TYPE_CHECKING
from uuid import uuid4

from standardwebhooks.webhooks import Webhook
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker

from db import connections
from tests.kit.running import Runner
from tests.servers.wire import Received, WireServer, respond

if TYPE_CHECKING:
    from db.engine import Database
    from schemas.actions import Catalogue
    from schemas.keyring import KeyRing

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
_DEFINITION = """
name: telling
input: {{type: object, properties: {{who: {{type: string}}}}}}
steps:
- id: tell
  type: webhook
  with: {{connection: {name}, event: lead.won, data: {{who: "{{{{ input.who }}}}"}}}}
"""


async def test_a_receiver_verifies_what_a_run_sends(
    client: Client,
    worker: Worker,
    task_queue: str,
    catalogue: "Catalogue",
    database: "Database",
    keyring: "KeyRing",
) -> None:
    runner, gone = Runner(client, task_queue, catalogue), False

    async def receive(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 410 if gone else 202)

    async with WireServer(receive) as server:
        name = f"hook-{uuid4().hex[:8]}"
        async with database.session() as session:
            await connections.put(
                session, "default", name, kind="webhook", config={"url": server.url},
                secrets={"secret": SECRET}, keyring=keyring,
            )  # fmt: skip
        text = _DEFINITION.format(name=name)
        good = await runner.end(await runner.start(runner.start_of(text, {"who": "Ada"})))
        gone = True
        bad = await runner.end(await runner.start(runner.start_of(text, {"who": "Bob"})))
    first, second = server.requests
    told = Webhook(SECRET).verify(first.body, first.headers)
    assert told == {"type": "lead.won", "data": {"who": "Ada"}}
    assert good.steps == {"tell": "completed"}
    assert good.state.steps["tell"].output == {"id": first.headers["webhook-id"], "status": 202}
    assert second.headers["webhook-id"] != first.headers["webhook-id"]
    assert bad.steps == {"tell": "failed"}
    scheduled = [
        event.activity_task_scheduled_event_attributes
        async for event in good.handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    (policy,) = [one.retry_policy for one in scheduled if one.activity_type.name == "webhook"]
    assert policy.maximum_attempts == 10
