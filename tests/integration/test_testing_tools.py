"""What people do with definitions and runs: simulate, explain, replay, over the real API."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from temporalio.worker import Worker

from activities.registry import load
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from dev.mailbox import Mailbox
from schemas.definition import Definition
from schemas.validation import load_definition
from testing.bench import Bench
from testing.replaying import recorded_case, replay
from testing.simulator import Simulator
from testing.story import following, tell
from tests.conftest import API_KEY
from tests.kit.serving import served
from workflows.gateway import Gateway

KEY = {"Authorization": "Bearer key-0123456789"}
SOURCE = """
name: told
input: {type: object, properties: {amount: {type: integer}}}
output: "{{ vars.result }}"
steps:
  - {id: begin, type: set, vars: {result: small}}
  - id: large
    type: condition
    title: A large amount?
    if: input.amount > LIMIT
    then:
      - id: ask
        type: email
        title: Ask the boss
        with: {to: boss@example.com, subject: Please decide, text: Now}
        output: "{{ steps.ask.output.accepted }}"
      - id: decision
        type: wait
        title: The decision
        signal: decided
        timeout: 2d
        on_timeout: continue
      - {id: keep, type: set, vars: {result: "{{ default(steps.decision.output, 'nothing') }}"}}
  - id: fetch
    type: http
    if: input.amount == 3
    retry: {attempts: 1}
    on_error: continue
    with: {url: "http://127.0.0.1:9/none"}
"""


def source(limit: int = 10) -> str:
    """Give the definition with a limit."""
    return SOURCE.replace("LIMIT", str(limit))


@pytest.fixture
async def simulating(database: Database, gateway: Gateway) -> AsyncIterator[AsyncClient]:
    """A client of an API that can simulate."""
    registry = load()
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=registry,
        config=ApiConfig(api_key="key-0123456789"),
        simulator=Simulator(registry),
    )
    async with AsyncClient(
        transport=ASGITransport(app=app), base_url="http://testserver", headers=KEY
    ) as client:
        yield client


async def test_a_case_is_simulated(simulating: AsyncClient) -> None:
    case = {
        "input": {"amount": 50},
        "signals": [{"at": "1d", "name": "decided", "data": "yes"}],
        "expect": {"output": "yes", "mails": [{"to": "boss@example.com"}]},
    }
    body = {"definition": source(), "case": case}
    answer = await simulating.post("/api/v1/simulate", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["ok"], told["status"], told["output"]) == (True, "completed", "yes")
    assert told["path"] == ["begin", "large", "ask", "decision", "keep"]
    assert told["virtual_time"].startswith("1d")
    assert "large: else" in told["coverage"]["missed"]


async def test_a_bad_case_and_a_bad_definition_are_refused(simulating: AsyncClient) -> None:
    body: dict[str, Any] = {"definition": source(), "case": {"signals": [{"at": "soon"}]}}
    answer = await simulating.post("/api/v1/simulate", json=body)
    assert answer.status_code == 422, answer.text
    assert [each["path"] for each in answer.json()["problems"]] == [
        "signals[0].at",
        "signals[0].name",
    ]
    body = {"definition": source(), "case": {"mocks": {"aks": {}}}}
    answer = await simulating.post("/api/v1/simulate", json=body)
    assert answer.json()["problems"][0]["hint"] == "did you mean 'ask'?"
    answer = await simulating.post("/api/v1/simulate", json={"definition": {"name": "x"}})
    assert answer.status_code == 422
    assert answer.json()["code"] == "DEFINITION_INVALID"


async def test_simulations_take_turns(simulating: AsyncClient) -> None:
    body = {"definition": source(), "case": {"input": {"amount": 1}}}
    calls = [simulating.post("/api/v1/simulate", json=body) for _ in range(3)]
    answers = await asyncio.gather(*calls)
    assert [answer.json()["output"] for answer in answers] == ["small"] * 3


async def test_without_the_server_it_is_told_what_to_install(api: AsyncClient) -> None:
    answer = await api.post("/api/v1/simulate", json={"definition": source()})
    assert answer.status_code == 501
    assert answer.json()["code"] == "NOT_IMPLEMENTED"
    assert "sojourn[testing]" in answer.json()["hint"]


async def finished(api: AsyncClient, run_id: str, *statuses: str) -> dict[str, Any]:
    """Wait until a run has one of the statuses."""
    async with asyncio.timeout(180):
        while True:
            run = (await api.get(f"/api/v1/runs/{run_id}")).json()
            if run["status"] in statuses:
                return run
            await asyncio.sleep(0.05)


async def test_runs_are_explained_and_replayed(
    api: AsyncClient, worker: Worker, smtp: Mailbox
) -> None:
    content = {"Content-Type": "application/yaml"}
    stored = await api.post(
        "/api/v1/definitions", params={"publish": "true"}, content=source(), headers=content
    )
    assert stored.status_code == 201, stored.text
    ids = []
    for amount in (50, 3, 1):
        started = await api.post(
            "/api/v1/definitions/told/runs", json={"input": {"amount": amount}}
        )
        ids.append(started.json()["id"])
    waiting = await finished(api, ids[0], "waiting")
    steps = (await api.get(f"/api/v1/runs/{ids[0]}/steps")).json()
    definition = load_definition(source(), load())
    story = "\n".join(tell(waiting, steps, definition, datetime.now(UTC)))
    assert "is waiting. It started on" in story
    assert "ask (Ask the boss): completed after" in story
    assert "decision (The decision) waits for the signal 'decided'" in story
    assert "after decision: keep, then fetch, then the run ends" in story
    assert "if the time runs out: the run goes on" in story
    await api.post(f"/api/v1/runs/{ids[0]}/signals/decided", json={"data": "{{ yes }}"})
    runs = [await finished(api, run_id, "completed", "failed") for run_id in ids]
    taken = [(await api.get(f"/api/v1/runs/{run_id}/steps")).json() for run_id in ids]
    story = "\n".join(tell(runs[0], taken[0], definition, datetime.now(UTC)))
    assert "is completed" in story
    assert "large (A large amount?): yes" in story
    assert "It gave {{ yes }}." in story
    assert "fetch: failed" in "\n".join(tell(runs[1], taken[1], definition, datetime.now(UTC)))
    async with Bench.open(load()) as bench:
        same = [
            await replay(bench, definition, run, its) for run, its in zip(runs, taken, strict=True)
        ]
        assert [each.differences for each in same] == [[], [], []]
        candidate = load_definition(source(limit=2), load())
        changed = [
            await replay(bench, candidate, run, its) for run, its in zip(runs, taken, strict=True)
        ]
    assert changed[0].same
    assert changed[1].differences == [
        "after 'large' comes 'ask', was 'fetch'",
        "runs in addition: ask, decision, keep",
        "gives another output",
    ]
    assert changed[2].same
    assert recorded_case(definition, runs[0], taken[0]).signals[0].name == "decided"


@pytest.fixture
async def address(app: FastAPI) -> AsyncIterator[str]:
    """The address of the served API."""
    async with served(app) as address:
        yield address


async def test_the_commands_ask_a_running_sojourn(
    address: str, api: AsyncClient, worker: Worker, tmp_path: Path
) -> None:
    async def sojourn(*arguments: str) -> tuple[int | None, str]:
        program = Path(sys.executable).parent / "sojourn"
        own = {"SOJOURN_URL": address, "SOJOURN_API_KEY": API_KEY}
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            env={**os.environ, **own},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, told.decode()

    text = source().replace("name: told", "name: asked")
    await api.post(
        "/api/v1/definitions",
        params={"publish": "true"},
        content=text,
        headers={"Content-Type": "application/yaml"},
    )
    for amount in (1, 5):
        body = {"input": {"amount": amount}}
        started = (await api.post("/api/v1/definitions/asked/runs", json=body)).json()
        await finished(api, started["id"], "completed")
    code, told = await sojourn("explain", started["id"])
    assert (code, "is completed" in told) == (0, True), told
    file = tmp_path / "asked.yaml"
    file.write_text(text)
    code, told = await sojourn("replay", "--last", "1d", str(file))
    assert (code, told) == (0, "2 of 2 runs go as they went, 0 do not\n")
    file.write_text(text.replace("input.amount > 10", "input.amount > 4"))
    code, told = await sojourn("replay", "--last", "1d", str(file))
    assert code == 1
    assert "after 'large' comes 'ask', was the end" in told
    assert "1 of 2 runs go as they went, 1 do not" in told
    code, told = await sojourn("explain", "no-such-run")
    assert (code, "NOT_FOUND" in told) == (2, True), told


def test_what_follows_a_step_is_found_in_the_lists_around_it() -> None:
    definition = Definition.model_validate(
        {
            "name": "nested",
            "steps": [
                {
                    "id": "each",
                    "type": "for_each",
                    "items": [1],
                    "do": [
                        {"id": "one", "type": "delay", "for": "1d"},
                        {"id": "two", "type": "delay", "for": "1d"},
                    ],
                },
                {"id": "last", "title": "The last", "type": "delay", "for": "1d"},
            ],
        }
    )
    assert following(definition, "one") == ["two", "The last", "the run ends"]
    assert following(definition, "two") == [
        "the next iteration of each",
        "The last",
        "the run ends",
    ]
