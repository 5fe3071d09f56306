"""Poison: runs that no attempt can get on end as failed or are shown as blocked, others go on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import ASGITransport, AsyncClient
from pydantic import BaseModel
from temporalio.client import Client

from activities.context import ActionContext
from activities.functions import Functions
from activities.registry import Registry, action, load
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from api.reconciler import Reconciler
from db import runs
from db.engine import Database
from db.ids import new_id
from schemas.run import REVISION
from tests.faults.evidence import figures
from tests.integration.api.conftest import API_KEY, YAML, a_name
from workflows.gateway import Gateway
from workflows.steps import vars as set_step
from workflows.worker_options import build_worker

# The SDK leaves the coroutines of workflow tasks that failed unawaited.
pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
QUEUE = "poison"
PATIENCE = 60.0
_ONCE = "retry: {attempts: 1}"


class Nothing(BaseModel):
    """No parameters."""


class Anything(BaseModel):
    """Whatever an action gives."""

    value: Any = None


@action("huge")
async def huge(params: Nothing, context: ActionContext) -> Anything:
    """Give 3 MiB."""
    return Anything(value="x" * 3 * 1024 * 1024)


@action("odd")
async def odd(params: Nothing, context: ActionContext) -> Anything:
    """Give what JSON has no form for."""
    return Anything(value=object())


@action("absent")
async def absent(params: Nothing, context: ActionContext) -> Anything:
    """Be in the catalogue, and in no worker."""
    return Anything()


_LARGE = ", ".join(["'{{ input.big }}'"] * 52)
# What is run, and the code with which it fails.
FAILING = {
    "huge output": ("{id: a, type: huge}", "LIMIT_EXCEEDED"),
    "unserialisable output": (f"{{id: a, type: odd, {_ONCE}}}", "INTERNAL"),
    "missing activity": (
        "{id: a, type: absent, retry: {attempts: 2, initial: 100ms}}",
        "NotFoundError",
    ),
    "wrong output type": (
        "{id: a, type: function, with: {function: 'tests.kit.opened:breaks', args: {how: no}}}",
        "STEP_FAILED",
    ),
    "raising function": (
        f"{{id: a, type: function, {_ONCE}, "
        "with: {function: 'tests.kit.opened:breaks', args: {how: value}}}",
        "STEP_FAILED",
    ),
    "hanging function": (
        f"{{id: a, type: function, timeout: 3s, {_ONCE}, "
        "with: {function: 'tests.kit.opened:spins', args: {seconds: 600}}}",
        "STEP_TIMEOUT",
    ),
    "bad secret": (
        f"{{id: a, type: http, {_ONCE}, "
        "with: {url: 'http://127.0.0.1:9/', headers: {x: '{{ secrets.nowhere }}'}}}",
        "INVALID_INPUT",
    ),
    "expression bomb": (
        "{id: a, type: set, vars: {x: '{{ input.l.map(a, input.l.map(b, input.l.map(c, 1))) }}'}}",
        "EXPRESSION_ERROR",
    ),
    "parameters of 3 MiB": (
        f"{{id: a, type: emit, with: {{type: x.y, key: k, data: [{_LARGE}]}}}}",
        "LIMIT_EXCEEDED",
    ),
    "result of 3 MiB": (
        f"{{id: a, type: stop, output: [{_LARGE}]}}",
        "LIMIT_EXCEEDED",
    ),
}
GIVEN = {"big": "x" * 60_000, "l": list(range(200))}


@dataclass(frozen=True)
class Place:
    """An API and a worker that poison may meet."""

    api: AsyncClient
    client: Client
    database: Database
    reconciler: Reconciler

    async def publish(self, steps: str) -> str:
        """Publish steps; gives the name."""
        name = a_name("poison")
        text = f"{{name: {name}, steps: [{steps}]}}"
        answer = await self.api.post("/api/v1/definitions?publish=true", content=text, headers=YAML)
        assert answer.status_code == 201, answer.text
        return name

    async def start(self, name: str) -> str:
        """Start a run; gives its id."""
        answer = await self.api.post(f"/api/v1/definitions/{name}/runs", json={"input": GIVEN})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def corrupted(self, start: Any) -> str:
        """Have a run that began with what is no start of a run."""
        name, run_id = "corrupted", new_id()
        async with self.database.session() as session:
            run = await runs.insert_queued(
                session, "default", definition=name, version=1, input={}, run_id=run_id
            )
        handle = await self.client.start_workflow(
            name, args=[start], id=run.workflow_id, task_queue=QUEUE
        )
        async with self.database.session() as session:
            first = handle.first_execution_run_id or ""
            await runs.mark_started(session, "default", run_id, first)
        return run_id

    async def settled(self, run_id: str, *, unblocked: bool = False) -> dict[str, Any]:
        """Wait until a run has ended, or is shown as blocked, if that is an end too."""
        async with asyncio.timeout(PATIENCE):
            while True:
                run = (await self.api.get(f"/api/v1/runs/{run_id}")).json()
                if run["status"] in ("failed", "completed") or (run["blocked"] and not unblocked):
                    return run
                await asyncio.sleep(0.2)

    async def letters(self, run_id: str, state: str = "open") -> list[dict[str, Any]]:
        """The dead letters of a run."""
        found = await self.api.get("/api/v1/dead-letters", params={"run": run_id, "state": state})
        return found.json()["items"]


@pytest.fixture(scope="module")
async def place(client: Client, services: Services, database: Database) -> AsyncIterator[Place]:
    own = replace(services, functions=Functions.load(["tests.kit.opened"]))
    product = load()
    known = [product.get(name) for name in product.specs()]
    extra = [one.__sojourn_action__ for one in (huge, odd)]  # pyright: ignore[reportFunctionMemberAccess]
    missing = absent.__sojourn_action__  # pyright: ignore[reportFunctionMemberAccess]
    gateway = Gateway(client, task_queue=QUEUE, deadline=15)
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=Registry([*known, *extra, missing]),
        config=ApiConfig(api_key=API_KEY, state_deadline=1),
    )
    reconciler = Reconciler(database, gateway, stale_after=timedelta(seconds=5))

    async def reconcile() -> None:
        while True:
            with suppress(Exception):
                await reconciler.once()
            await asyncio.sleep(1)

    async with (
        build_worker(
            client,
            Registry([*known, *extra]).activities(own),
            task_queue=QUEUE,
            sandboxed=False,
            graceful_shutdown=timedelta(seconds=1),
        ),
        AsyncClient(
            transport=ASGITransport(app=app),
            base_url="http://testserver",
            headers={"Authorization": f"Bearer {API_KEY}"},
        ) as api,
    ):
        loop = asyncio.create_task(reconcile())
        yield Place(api, client, database, reconciler)
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
    await own.aclose()


async def test_ten_poisons_and_more_end_and_others_go_on(place: Place) -> None:
    healthy = await place.publish(
        "{id: a, type: set, vars: {x: 1}}, {id: b, type: emit, with: {type: x.y, key: k}}"
    )
    good = [await place.start(healthy) for _ in range(3)]
    began = time.monotonic()
    poisons = {
        kind: await place.start(await place.publish(steps)) for kind, (steps, _) in FAILING.items()
    }
    blocked = {
        "unknown engine": await place.corrupted(
            {
                "run_id": "x",
                "workspace": "default",
                "version": 1,
                "revision": REVISION,
                "definition": {"name": "x", "engine": 99, "steps": [{"id": "a", "type": "stop"}]},
            }
        ),
        "corrupted start": await place.corrupted("no start of a run"),
    }
    ended = await asyncio.gather(*map(place.settled, poisons.values()))
    found = dict(zip(poisons, ended, strict=True))
    for kind, run in found.items():
        assert (run["status"], run["error"]["code"]) == ("failed", FAILING[kind][1]), (kind, run)
        assert [one["kind"] for one in await place.letters(run["id"])] == ["run"], kind
    good += [await place.start(healthy) for _ in range(3)]
    for kind, run_id in blocked.items():
        run = await place.settled(run_id)
        assert run["blocked"]["reason"].startswith("ValidationError: "), kind
        assert "no start of a run" not in run["blocked"]["reason"]
        assert run["status"] in ("running", "queued"), kind
        assert [one["kind"] for one in await place.letters(run_id)] == ["blocked"], kind
    seconds = time.monotonic() - began
    assert seconds < PATIENCE
    assert {(await place.settled(run_id))["status"] for run_id in good} == {"completed"}
    listed = (await place.api.get("/api/v1/runs?blocked=true&limit=200")).json()["items"]
    assert set(blocked.values()) <= {run["id"] for run in listed}
    for run_id in blocked.values():
        at = f"/api/v1/runs/{run_id}/terminate"
        answer = await place.api.post(at, json={"reason": "not worth it"})
        assert answer.json()["status"] == "terminated"
        run = (await place.api.get(f"/api/v1/runs/{run_id}")).json()
        assert (run["status"], run["blocked"]) == ("terminated", None)
    await place.reconciler.once()
    assert not [one for run_id in blocked.values() for one in await place.letters(run_id)]
    figures("T16 poison", kinds=len(poisons) + len(blocked), seconds=round(seconds, 1))


async def test_a_run_that_our_own_fault_blocks_goes_on_when_it_is_mended(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control is the same: until the fault is there no run is blocked."""

    def broken(*_: Any) -> None:
        raise ValueError("a defect of ours")

    name = await place.publish(
        "{id: tell, type: emit, with: {type: x.y, key: '{{ run.id }}'}}, "
        "{id: a, type: set, vars: {x: 1}}"
    )
    with monkeypatch.context() as patch:
        patch.setattr(set_step, "run", broken)
        run_id = await place.start(name)
        run = await place.settled(run_id)
        assert run["blocked"]["reason"] == "ValueError: a defect of ours"
        (letter,) = await place.letters(run_id)
        assert (letter["kind"], letter["code"]) == ("blocked", "INTERNAL")
        again = await place.api.post(f"/api/v1/dead-letters/{letter['id']}/redrive", json={})
        assert again.status_code == 409, again.text
        metrics = (await place.api.get("/metrics")).text
        assert f'definition="{name}"' in metrics.partition("sojourn_runs_blocked{")[2]
    answer = await place.api.post(f"/api/v1/runs/{run_id}/unblock", json={})
    assert answer.status_code == 202, answer.text
    run = await place.settled(run_id, unblocked=True)
    assert run["status"] == "completed"
    assert run["blocked"] is None
    assert not await place.letters(run_id)
    assert [one["state"] for one in await place.letters(run_id, "redriven")] == ["redriven"]
    # What had taken effect before the fault was not done again.
    told = (await place.api.get("/api/v1/events", params={"key": run_id})).json()["items"]
    assert len(told) == 1
    refused = await place.api.post(f"/api/v1/runs/{run_id}/unblock", json={})
    assert refused.status_code == 409
