"""/ai: usage, the daily budget, circuits; and what a run shows of its AI steps."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from activities.ai import preload
from activities.registry import load
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from schemas.keeping import Keep
from tests.integration.activities.ai_desk import config_of
from tests.integration.api.conftest import (
    API_KEY,
    assert_problem,
    client_of,
    start,
    until_status,
)
from tests.servers.ai_server import AiServer
from workflows.gateway import Gateway
from workflows.setup import connect
from workflows.worker_options import build_worker

ASKING = """
name: {name}
input: {{type: object}}
limits: {{ai_budget: 0.001}}
steps:
  - id: ask
    type: ai
    with: {{model: "openai:gpt-4o-mini", prompt: "Ada owes 900 EUR", max_tokens: 100}}
  - {{id: twice, type: ai, with: {{model: "openai:gpt-4o-mini", prompt: Hi}}}}
"""


@pytest.fixture
async def server() -> AsyncIterator[AiServer]:
    await preload()
    async with AiServer() as running:
        yield running


@pytest.fixture
def queue() -> str:
    return f"ai-{uuid4().hex[:8]}"


@pytest.fixture
def redacting(database: Database, temporal_address: str, catalogue: Catalogue, queue: str) -> Any:
    """An app whose runs keep hashes of what models are told."""

    async def make() -> FastAPI:
        gateway = Gateway(await connect(temporal_address), task_queue=queue)
        config = ApiConfig(api_key=API_KEY, ai_keep=Keep.REDACTED)
        return create_app(database=database, gateway=gateway, catalogue=catalogue, config=config)

    return make


async def test_a_run_says_what_its_steps_cost_and_keeps_hashes(
    server: AiServer,
    database: Database,
    temporal_address: str,
    queue: str,
    redacting: Any,
) -> None:
    services = Services(database=database, ai=config_of(server), ai_keep=Keep.REDACTED)
    name = f"asking-{uuid4().hex[:8]}"
    async with (
        build_worker(
            await connect(temporal_address),
            load().activities(services),
            task_queue=queue,
            graceful_shutdown=timedelta(seconds=1),
        ),
        client_of(await redacting()) as api,
    ):
        made = await api.post(
            "/api/v1/definitions",
            params={"publish": True},
            content=ASKING.format(name=name),
            headers={"content-type": "application/yaml"},
        )
        assert made.status_code == 201, made.text
        run_id = await start(api, name)
        run = await until_status(api, run_id, "failed")
        # The second names no max_tokens: 4,096 tokens of answer are above what is left.
        assert (run["error"]["code"], run["error"]["step"]) == ("LIMIT_EXCEEDED", "twice")
        assert len(server.calls) == 1

        used = (await api.get(f"/api/v1/runs/{run_id}/ai-usage")).json()
        assert used["total"]["cost_usd"] == used["used_usd"] == pytest.approx(5.85e-6)
        assert (used["budget_usd"], used["budget_tokens"]) == (0.001, None)
        assert [(step["step"], step["calls"]) for step in used["steps"]] == [("ask", 1)]

        ask, _ = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
        assert "Ada" not in str(ask)
        assert set(ask["input"]["prompt"]) == {"sha256", "bytes"}
        assert set(ask["output"]["text"]) == {"sha256", "bytes"}
        assert ask["output"]["usage"]["input_tokens"] == 11

        for group in ("day", "definition", "run", "step", "model"):
            report = await api.get(
                "/api/v1/ai/usage", params={"group_by": group, "definition": name}
            )
            (item,) = report.json()["items"]
            assert (item["calls"], item["input_tokens"]) == (1, 11)
    await services.aclose()


async def test_the_daily_budget(api: AsyncClient) -> None:
    before = (await api.get("/api/v1/ai/budget")).json()
    assert (before["source"], before["daily_usd"]) == ("settings", None)
    answer = await api.put("/api/v1/ai/budget", json={"daily_usd": 2.5, "daily_tokens": 10_000_000})
    try:
        assert answer.status_code == 200
        after = (await api.get("/api/v1/ai/budget")).json()
        assert (after["source"], after["daily_usd"], after["daily_tokens"]) == (
            "api",
            2.5,
            10_000_000,
        )
        assert after["used_usd"] == before["used_usd"]
    finally:
        assert (await api.delete("/api/v1/ai/budget")).status_code == 204
    assert (await api.get("/api/v1/ai/budget")).json()["source"] == "settings"


@pytest.mark.parametrize("body", [{"daily_usd": -1}, {"daily_tokens": -1}, {"monthly": 3}])
async def test_wrong_budgets(api: AsyncClient, body: dict[str, Any]) -> None:
    answer = await api.put("/api/v1/ai/budget", json=body)
    assert answer.status_code == 422


@pytest.mark.parametrize("limit", ["ai_budget: -0.1", "ai_tokens: -1", "ai_budget: .inf"])
async def test_a_definition_with_a_wrong_budget(api: AsyncClient, limit: str) -> None:
    text = ASKING.format(name="wrong").replace("ai_budget: 0.001", limit)
    answer = await api.post(
        "/api/v1/definitions", content=text, headers={"content-type": "application/yaml"}
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == "DEFINITION_INVALID"


async def test_times_need_a_zone(api: AsyncClient) -> None:
    answer = await api.get("/api/v1/ai/usage", params={"from": "2026-01-01T00:00:00"})
    assert_problem(answer, 422, "INVALID_INPUT")
    answer = await api.get("/api/v1/runs/none/ai-usage")
    assert_problem(answer, 404, "NOT_FOUND")


async def test_circuits_are_listed(api: AsyncClient, database: Database) -> None:
    from activities.ai import AiParams, ai
    from activities.errors import ActionError
    from tests.integration.activities.ai_desk import Desk

    async with AiServer(status=500) as down:
        config = config_of(down)
        desk = Desk(database, down, replace(config, breaker=config.breaker.model_copy()))
        for _ in range(3):
            with pytest.raises(ActionError):
                await ai(AiParams(model="openai:small", prompt="Hi"), desk.context())
        found = (await api.get("/api/v1/ai/circuits")).json()
        (ours,) = [one for one in found if one["endpoint"] == f"openai {down.openai_url}"]
    assert ours["state"] == "open"
    assert "told to answer 500" in ours["last_error"]
    assert ours["open_until"]
