"""Agents on a real server, with a model that speaks OpenAI's protocol."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.client import Client

from activities.ai import preload
from activities.services import AiConfig, Services
from db.engine import Database
from tests.kit.agent_scenarios import AGENTS, AgentScenario
from tests.kit.judging import judge
from tests.kit.probes import registry
from tests.kit.running import Runner
from tests.kit.scenarios import INPUT, definition_text
from tests.servers.ai_server import AiServer
from workflows.worker_options import build_worker

QUEUE = "agents"


@dataclass(frozen=True)
class Stage:
    """A runner whose worker asks `model`."""

    runner: Runner
    model: AiServer


@pytest.fixture(scope="module")
async def stage(client: Client, database: Database) -> AsyncIterator[Stage]:
    await preload()
    async with AiServer() as model:
        config = AiConfig(openai_base_url=model.openai_url, openai_api_key="sk-test")
        services = Services(database=database, ai=config)
        found = registry()
        async with build_worker(client, found.activities(services), task_queue=QUEUE):
            yield Stage(Runner(client, QUEUE, found), model)
        await services.aclose()


@pytest.mark.parametrize("scenario", AGENTS, ids=lambda scenario: scenario.name)
async def test_agent(scenario: AgentScenario, stage: Stage) -> None:
    stage.model.calls.clear()
    stage.model.script = list(scenario.script)
    stage.model.status = scenario.model_status
    text = definition_text(scenario)
    start = stage.runner.start_of(text, INPUT, history_limit=scenario.history_limit)
    handle = await stage.runner.start(start)
    if scenario.act is not None:
        await scenario.act(handle)
    ended = await stage.runner.end(handle)
    await judge(scenario, ended, stage.runner)
    assert len(stage.model.calls) == scenario.asked
    _CHECKS.get(scenario.name, lambda _: None)(stage.model)


def _told(model: AiServer, turn: int = -1) -> list[dict[str, str]]:
    """Give the tools' answers that a request held."""
    return [one for one in model.calls[turn][1]["messages"] if one["role"] == "tool"]


def _success(model: AiServer) -> None:
    answers = [json.loads(one["content"]) for one in _told(model)]
    assert answers == [{"value": f"found {letter}"} for letter in "abc"]
    tools = model.calls[0][1]["tools"]
    assert [one["function"]["name"] for one in tools] == ["search"]
    assert tools[0]["function"]["parameters"]["required"] == ["term"]


def _broken(model: AiServer) -> None:
    assert "the probe fails" in _told(model, 1)[0]["content"]


def _bad(model: AiServer) -> None:
    unknown, misfit, no_json = (one["content"] for one in _told(model))
    assert "there is no tool 'nope'" in unknown
    assert "term" in misfit
    assert "not a JSON object" in no_json


def _rejected(model: AiServer) -> None:
    assert json.loads(_told(model)[0]["content"])["decision"] == "rejected"


_CHECKS = {
    "agent-success": _success,
    "agent-tool-failure": _broken,
    "agent-bad-calls": _bad,
    "agent-rejected": _rejected,
}
