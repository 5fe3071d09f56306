"""Agents whose tools reach real servers: HTTP, functions, other definitions, MCP; people agree."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from temporalio.client import Client

from activities.ai import preload
from activities.functions import Functions
from activities.registry import load
from activities.services import AiConfig, HttpConfig, Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from tests.integration.api.conftest import API_KEY, client_of, until_status
from tests.servers.ai_server import AiServer
from tests.servers.mcp_server import McpServer
from tests.servers.wire import Received, WireServer, respond
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

MODULE = "tests.kit.opened"
TOOLS = f"""
      - name: look
        description: Looks an order up.
        parameters: {{type: object, required: [id], properties: {{id: {{type: string}}}}}}
        do: [{{id: look, type: http, with: {{url: "@shop/orders/{{{{ args.id }}}}"}}}}]
      - name: sum
        description: Adds an order up.
        do:
          - id: sum
            type: function
            with:
              function: {MODULE}:total
              args: {{due: '2026-01-01', lines: "{{{{ args.lines }}}}"}}
      - name: twice
        description: Doubles a number.
        do:
          - id: twice
            type: workflow
            definition: "@below"
            input: {{n: "{{{{ args.n }}}}"}}
      - name: add
        description: Adds two numbers.
        do: [{{id: add, type: mcp, with: {{url: "@mcp", tool: add, arguments: "{{{{ args }}}}"}}}}]
      - name: refund
        description: Refunds an order. A person must agree.
        do:
          - {{id: agreed, type: approval, assignees: [ada], timeout: 7d, on_timeout: continue}}
          - id: refund
            type: http
            if: steps.agreed.output.decision == 'approved'
            with: {{method: POST, url: "@shop/refunds", json: "{{{{ args }}}}"}}
"""
HELPER = f"""
name: "@name"
output: {{answer: "{{{{ steps.helper.output.output }}}}"}}
steps:
  - id: helper
    type: agent
    with: {{model: 'openai:gpt-5-mini', prompt: Refund what is too much.}}
    tools: {TOOLS}
"""
BELOW = """
name: "@below"
input: {type: object, required: [n], properties: {n: {type: integer}}}
output: {twice: "{{ input.n * 2 }}"}
steps: [{id: note, type: set, vars: {n: "{{ input.n }}"}}]
"""
ASKING_BELOW = """
name: "@below"
output: {text: "{{ steps.ask.output.text }}"}
steps:
  - {id: ask, type: ai, with: {model: 'openai:gpt-4o-mini', prompt: Hi, max_tokens: 5000}}
"""
LEASHED = """
name: "@name"
limits: {ai_tokens: 3000}
output: {answer: "{{ steps.helper.output.output }}"}
steps:
  - id: helper
    type: agent
    with: {model: 'openai:gpt-4o-mini', prompt: Ask another., max_tokens: 500}
    tools:
      - name: other
        description: Asks another model.
        do: [{id: other, type: workflow, definition: "@below"}]
"""
FOUND = """
name: "@name"
output: {answer: "{{ steps.helper.output.output }}"}
steps:
  - {id: shelf, type: mcp_tools, with: {url: "@mcp", tools: all}}
  - id: helper
    type: agent
    with:
      model: openai:gpt-5-mini
      system: "Tools: {{ json(steps.shelf.output.tools) }}"
      prompt: What are 2 and 3?
    tools:
      - name: shelf
        description: Calls a tool by its name.
        do:
          - id: call
            type: mcp
            with: {url: "@mcp", tool: "{{ args.tool }}", arguments: "{{ args.arguments }}"}
"""


@dataclass
class Scene:
    """An API with a worker, a model, a shop and an MCP server of their own."""

    api: AsyncClient
    model: AiServer
    shop: WireServer
    mcp: McpServer

    async def start(self, *texts: str) -> str:
        """Publish definitions, the last of which is started; gives the run's id."""
        name = f"agent-{uuid4().hex[:8]}"
        words = {"@name": name, "@below": f"{name}-below", "@shop": self.shop.url}
        words |= {"@mcp": self.mcp.url}
        for text in texts:
            for word, value in words.items():
                text = text.replace(word, value)
            answer = await self.api.post(
                "/api/v1/definitions?publish=true",
                content=text,
                headers={"content-type": "application/yaml"},
            )
            assert answer.status_code == 201, answer.text
        answer = await self.api.post(f"/api/v1/definitions/{name}/runs", json={"input": {}})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def told(self) -> list[Any]:
        """What the model was told by the tools, in order."""
        messages = self.model.calls[-1][1]["messages"]
        told = [message["content"] for message in messages if message["role"] == "tool"]
        return [json.loads(text) if text[:1] in "{[" else text for text in told]

    async def asked(self, run_id: str) -> str:
        """Wait until Ada is asked; gives the approval's path."""
        async with asyncio.timeout(180):
            while True:
                found = (await self.api.get("/api/v1/approvals")).json()["items"]
                paths = [one["path"] for one in found if one["run_id"] == run_id]
                if paths:
                    return paths[0]
                await asyncio.sleep(0.05)

    async def decide(self, run_id: str, path: str, decision: str) -> None:
        """Have Ada decide."""
        answer = await self.api.post(
            f"/api/v1/runs/{run_id}/approvals/{path}", json={"decision": decision, "by": "ada"}
        )
        assert answer.status_code == 200, answer.text


async def _sell(request: Received, writer: asyncio.StreamWriter) -> None:
    kind = {"content-type": "application/json"}
    body = {"order": "17", "total": 6} if request.method == "GET" else {"refunded": True}
    respond(writer, 200, json.dumps(body).encode(), kind)


@pytest.fixture
async def scene(client: Client, database: Database) -> AsyncIterator[Scene]:
    await preload()
    queue = f"agents-{uuid4().hex[:8]}"
    functions = Functions.load([MODULE])
    async with AiServer() as model, WireServer(_sell) as shop, McpServer() as mcp:
        services = Services(
            database=database,
            functions=functions,
            ai=AiConfig(openai_base_url=model.openai_url, openai_api_key="sk-test"),
            http_config=HttpConfig(
                allow_cidrs=("127.0.0.0/8",), allow_ports=tuple(range(1024, 65536))
            ),
        )
        registry = load({"function": partial(functions.find_faults, "default")})
        app = create_app(
            database=database,
            gateway=Gateway(client, task_queue=queue, deadline=15),
            catalogue=registry,
            config=ApiConfig(api_key=API_KEY, state_deadline=5),
            functions=functions,
        )
        worker = build_worker(
            client,
            registry.activities(services),
            task_queue=queue,
            graceful_shutdown=timedelta(seconds=1),
        )
        async with worker, client_of(app) as api:
            yield Scene(api, model, shop, mcp)
        await services.aclose()


async def test_every_kind_of_tool(scene: Scene) -> None:
    lines = [{"name": "a", "price": 2, "count": 3}]
    scene.model.script = [
        [("look", {"id": "17"})],
        [("sum", {"lines": lines}), ("twice", {"n": 4})],
        [("add", {"a": 2, "b": 3})],
        [("refund", {"order": "17"})],
        "It is done.",
    ]
    run_id = await scene.start(BELOW, HELPER)
    path = await scene.asked(run_id)
    assert [request.method for request in scene.shop.requests] == ["GET"]
    await scene.decide(run_id, path, "approved")
    ended = await until_status(scene.api, run_id, "completed")
    assert ended["output"] == {"answer": "It is done."}
    look, total, twice, added, refund = scene.told()
    assert look["body"] == {"order": "17", "total": 6}
    assert total["result"]["net"] == 6
    assert twice == {"twice": 8}
    assert added["structured"] == {"total": 5}
    assert refund["body"] == {"refunded": True}
    posted = scene.shop.requests[-1]
    assert (posted.method, json.loads(posted.body)) == ("POST", {"order": "17"})
    assert scene.mcp.seen.count("tools/call") == 1
    # Each turn and each call is a step of its own, and the sub-run a run of its own.
    steps = (await scene.api.get(f"/api/v1/runs/{run_id}/steps")).json()
    paths = {step["path"] for step in steps}
    assert {"helper[1].look", "helper[3].sum", "helper[4].twice", "helper[6].add"} <= paths
    below = (await scene.api.get("/api/v1/runs", params={"parent": run_id})).json()["items"]
    assert [one["parent_path"] for one in below] == ["helper[4].twice"]


async def test_without_a_persons_consent_nothing_is_done(scene: Scene) -> None:
    scene.model.script = [[("refund", {"order": "17"})], "They said no."]
    run_id = await scene.start(BELOW, HELPER)
    await scene.decide(run_id, await scene.asked(run_id), "rejected")
    ended = await until_status(scene.api, run_id, "completed")
    assert ended["output"] == {"answer": "They said no."}
    assert scene.shop.requests == []


async def test_a_sub_run_asks_on_the_budget_of_the_run_above(scene: Scene) -> None:
    scene.model.script = [[("other", {})], "It was refused."]
    run_id = await scene.start(ASKING_BELOW, LEASHED)
    ended = await until_status(scene.api, run_id, "completed")
    assert ended["output"] == {"answer": "It was refused."}
    (told,) = scene.told()
    # As the vendor's protocol has it a failure is a text.
    assert "LIMIT_EXCEEDED" in told["error"]
    assert "a run above" in told["error"]
    # The two turns of the agent; the sub-run's call was never made.
    assert len(scene.model.calls) == 2
    usage = (await scene.api.get(f"/api/v1/runs/{run_id}/ai-usage")).json()
    assert 0 < usage["used_tokens"] < usage["budget_tokens"]


async def test_tools_that_a_server_turns_out_to_have(scene: Scene) -> None:
    scene.model.script = [[("shelf", {"tool": "add", "arguments": {"a": 2, "b": 3}})], "Five."]
    run_id = await scene.start(FOUND)
    ended = await until_status(scene.api, run_id, "completed")
    assert ended["output"] == {"answer": "Five."}
    assert scene.told()[0]["structured"] == {"total": 5}
    system = scene.model.calls[0][1]["messages"][0]["content"]
    assert "Add two numbers." in system
