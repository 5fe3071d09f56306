"""Runs with code and functions on a real worker: what a program does, the worker outlives."""

import json
from collections.abc import AsyncIterator
from functools import partial

import pytest
from httpx2 import ASGITransport, AsyncClient
from temporalio.client import Client

from activities.functions import Functions
from activities.registry import load
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from tests.kit.running import Runner
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

QUEUE = "code"
MODULE = "tests.kit.opened"
KEY = "test-key-0123456789"


@pytest.fixture(scope="module")
def functions() -> Functions:
    return Functions.load([MODULE, "tests.kit.opened@elsewhere"])


@pytest.fixture(scope="module")
async def runner(client: Client, database: Database, functions: Functions) -> AsyncIterator[Runner]:
    services = Services(database=database, functions=functions)
    registry = load()
    async with build_worker(client, registry.activities(services), task_queue=QUEUE):
        yield Runner(client, QUEUE, registry)
    await services.aclose()


@pytest.fixture
async def api(
    database: Database, gateway: Gateway, functions: Functions
) -> AsyncIterator[AsyncClient]:
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=load({"function": partial(functions.find_faults, "default")}),
        config=ApiConfig(api_key=KEY),
        functions=functions,
    )
    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver",
        headers={"Authorization": f"Bearer {KEY}"},
    ) as found:
        yield found


async def test_the_worker_outlives_what_programs_do(runner: Runner) -> None:
    bombs = ["while True: pass", "[0] * 10**10", "open('/etc/passwd')", "import socket"]
    steps = [
        {
            "id": f"b{at}",
            "type": "code",
            "depends_on": [],
            "on_error": "continue",
            "with": {"time_limit": "300ms", "source": bomb},
        }
        for at, bomb in enumerate(bombs)
    ]
    after = {
        "id": "after",
        "type": "code",
        "depends_on": [step["id"] for step in steps],
        "with": {"source": "print(n)\nn + 1", "inputs": {"n": 41}},
    }
    output = {"n": "{{ steps.after.output.result }}"}
    text = json.dumps({"name": "bombs", "output": output, "steps": [*steps, after]})
    ended = await runner.end(await runner.start(runner.start_of(text)))
    assert ended.state.output == {"n": 42}
    errors = [ended.state.steps[f"b{at}"].error for at in range(len(bombs))]
    assert [error.code for error in errors if error is not None] == ["CODE_ERROR"] * len(bombs)
    assert all(ended.state.steps[f"b{at}"].attempts == 1 for at in range(len(bombs)))
    assert ended.state.steps["after"].output["logs"] == ["41"]


async def test_a_run_calls_a_function(runner: Runner) -> None:
    text = f"""
name: totals
output: {{net: "{{{{ steps.sum.output.result.net }}}}", key: "{{{{ steps.key.output.result }}}}"}}
steps:
  - id: sum
    type: function
    with:
      function: {MODULE}:total
      args: {{due: 2026-01-01, lines: [{{name: a, price: 2, count: "{{{{ input.n }}}}"}}]}}
  - {{id: key, type: function, with: {{function: "{MODULE}:key"}}}}
  - {{id: none, type: function, on_error: continue, with: {{function: "os:getcwd"}}}}
"""
    start = runner.start_of(text.replace("2026-01-01", "'2026-01-01'"), {"n": 3})
    ended = await runner.end(await runner.start(start))
    assert ended.state.output == {"net": 6.0, "key": f"{start.run_id}:key"}
    refused = ended.state.steps["none"].error
    assert refused is not None
    assert refused.code == "FORBIDDEN"


async def test_the_catalogue_lists_functions(api: AsyncClient) -> None:
    answer = await api.get("/api/v1/actions/functions")
    assert answer.status_code == 200
    found = {one["reference"]: one for one in answer.json()["items"]}
    assert sorted(found) == sorted(
        f"{MODULE}:{name}" for name in ("breaks", "key", "large", "never", "slow", "spins", "total")
    )
    assert found[f"{MODULE}:total"]["parameters"]["required"] == ["lines", "due"]


async def test_publishing_refuses_unknown_functions_and_broken_programs(api: AsyncClient) -> None:
    steps = [
        {"id": "a", "type": "function", "with": {"function": f"{MODULE}:totl"}},
        {"id": "b", "type": "code", "with": {"source": "a = 1\nb = = 2"}},
    ]
    answer = await api.post("/api/v1/definitions/validate", json={"name": "x", "steps": steps})
    found = {one["path"]: one for one in answer.json()["problems"]}
    assert found["steps[0].with.function"]["hint"] == f"did you mean '{MODULE}:total'?"
    assert "line 2" in found["steps[1].with.source"]["message"]
