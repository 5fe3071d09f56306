"""3 MiB of JSON as the answer to a POST: sent once, where a naive activity sends it again."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx2
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from tests.faults.evidence import figures
from tests.kit.running import Runner
from tests.servers.wire import Received, WireServer, respond

if TYPE_CHECKING:
    from schemas.actions import Catalogue

ANSWER = b'"' + b"x" * (3 * 1024 * 1024) + b'"'
_DEFINITION = """
name: large-answer
steps:
- {{id: call, type: http, with: {{method: POST, url: "{url}", json: {{a: 1}}}}, timeout: 20s}}
"""


async def _large(request: Received, writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, ANSWER, {"content-type": "application/json"})


@activity.defn
async def naive_post(url: str) -> str:
    """Give the whole answer, as most would."""
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        return (await client.post(url)).text


@workflow.defn(sandboxed=False)
class NaivePost:
    """One activity with three attempts."""

    @workflow.run
    async def run(self, url: str) -> int:
        """Give the size of the answer."""
        policy = RetryPolicy(maximum_attempts=3, initial_interval=timedelta(milliseconds=50))
        text = await workflow.execute_activity(
            naive_post, url, start_to_close_timeout=timedelta(seconds=20), retry_policy=policy
        )
        return len(text)


async def test_a_post_is_sent_once(
    client: Client, worker: Worker, task_queue: str, catalogue: "Catalogue"
) -> None:
    runner = Runner(client, task_queue, catalogue)
    async with WireServer(_large) as server:
        start = runner.start_of(_DEFINITION.format(url=server.url))
        ended = await runner.end(await runner.start(start))
        sent = len(server.requests)
    assert sent == 1
    # Kept beside the run as an artifact, or refused: never tried again.
    assert ended.steps["call"] in ("completed", "failed")
    figures("T12 3 MiB of JSON to a POST", requests=sent, control_requests=await _naive(client))


async def _naive(client: Client) -> int:
    async with (
        WireServer(_large) as server,
        Worker(client, task_queue="naive", workflows=[NaivePost], activities=[naive_post]),
    ):
        with suppress(WorkflowFailureError):
            await client.execute_workflow(
                NaivePost.run, server.url, id="naive-post", task_queue="naive"
            )
        sent = len(server.requests)
    # The control: the answer is refused by Temporal, and the effect happens again.
    assert sent == 3
    return sent
