"""Sleeping runs go on in another version, or stay in theirs and say why."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from temporalio.client import Client
from temporalio.worker import Worker

from tests.integration.test_control import until

# Sleeping runs that move at once, in the short form and in the long one.
RUNS = (40, 200)
FIRST = """
name: {name}
steps:
  - {{id: hello, type: set, vars: {{said: hello}}}}
  - {{id: nap, type: wait, signal: go}}
  - {{id: end, type: set, vars: {{ended: first}}}}
output: {{ended: "{{{{ vars.ended }}}}", said: "{{{{ vars.said }}}}"}}
"""
SECOND = FIRST.replace(
    "{{id: end, type: set, vars: {{ended: first}}}}",
    "{{id: more, type: set, vars: {{more: true}}}}\n"
    "  - {{id: end, type: set, vars: {{ended: second}}}}",
)
RENAMED = SECOND.replace("id: nap", "id: rest").replace("ended: second", "ended: renamed")
OTHER_KIND = FIRST.replace("type: wait, signal: go", "type: delay, for: 1h")


async def publish(api: AsyncClient, name: str, source: str, *, first: bool = False) -> int:
    path = "/api/v1/definitions" if first else f"/api/v1/definitions/{name}/versions"
    answer = await api.post(
        f"{path}?publish=true",
        content=source.format(name=name),
        headers={"content-type": "application/yaml"},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["version"]


async def started(api: AsyncClient, name: str) -> str:
    answer = await api.post(f"/api/v1/definitions/{name}/runs", json={"input": {}})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def migrate(api: AsyncClient, name: str, to: int, **more: Any) -> dict[str, Any]:
    answer = await api.post(
        f"/api/v1/definitions/{name}/versions/1/migrate?limit=200", json={"version": to, **more}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def name(api: AsyncClient, worker: Worker) -> str:
    found = f"moving-{uuid4().hex[:12]}"
    await publish(api, found, FIRST, first=True)
    return found


async def test_sleeping_runs_finish_in_the_new_version(
    api: AsyncClient, client: Client, name: str, long: bool
) -> None:
    count = RUNS[long]
    runs = [await started(api, name) for _ in range(count)]
    for run in runs:
        await until(api, run, "waiting")
    assert await publish(api, name, SECOND) == 2

    preflight = await migrate(api, name, 2)
    assert (preflight["safe"], preflight["blocked"], preflight["migrated"]) == (count, 0, 0)
    assert {(await until(api, run, "waiting"))["version"] for run in runs[:5]} == {1}

    done = await migrate(api, name, 2, confirm=True)
    assert done["migrated"] == count, [run for run in done["runs"] if not run["migrated"]]
    for run in runs:
        answer = await api.post(f"/api/v1/runs/{run}/signals/go", json={"data": None})
        assert answer.status_code == 202, answer.text
    for run in runs:
        ended = await until(api, run, "completed")
        assert ended["output"] == {"ended": "second", "said": "hello"}
        assert ended["version"] == 2
    steps = (await api.get(f"/api/v1/runs/{runs[0]}/steps")).json()
    assert [step["path"] for step in steps] == ["hello", "nap", "more", "end"]
    assert (await migrate(api, name, 2))["runs"] == []


async def test_a_mapping_names_what_a_step_is_called_now(api: AsyncClient, name: str) -> None:
    run = await started(api, name)
    await until(api, run, "waiting")
    to = await publish(api, name, RENAMED)
    blocked = await migrate(api, name, to, confirm=True)
    assert (blocked["blocked"], blocked["migrated"]) == (1, 0)
    assert "'nap'" in blocked["runs"][0]["reasons"][0]
    mapped = await migrate(api, name, to, mapping={"nap": "rest"}, confirm=True)
    assert (mapped["mapped"], mapped["migrated"]) == (1, 1)
    await api.post(f"/api/v1/runs/{run}/signals/go", json={"data": None})
    assert (await until(api, run, "completed"))["output"]["ended"] == "renamed"


async def test_what_does_not_fit_is_refused_and_goes_on(api: AsyncClient, name: str) -> None:
    run = await started(api, name)
    await until(api, run, "waiting")
    to = await publish(api, name, OTHER_KIND)
    answer = await api.post(f"/api/v1/runs/{run}/migrate", json={"version": to, "confirm": True})
    found = answer.json()
    assert (found["fit"], found["migrated"]) == ("blocked", False)
    assert "changed its type from 'wait' to 'delay'" in found["reasons"][0]
    await api.post(f"/api/v1/runs/{run}/signals/go", json={"data": None})
    ended = await until(api, run, "completed")
    assert (ended["output"]["ended"], ended["version"]) == ("first", 1)


async def test_the_target_must_be_another_published_version(api: AsyncClient, name: str) -> None:
    run = await started(api, name)
    same = await api.post(f"/api/v1/runs/{run}/migrate", json={"version": 1})
    assert (same.status_code, same.json()["code"]) == (409, "VERSION_CONFLICT")
    unknown = await api.post(f"/api/v1/runs/{run}/migrate", json={"version": 9})
    assert unknown.status_code == 404
    await asyncio.gather(until(api, run, "waiting"))
    assert (await api.post(f"/api/v1/runs/{run}/cancel")).status_code == 202


async def test_the_difference_of_two_versions(api: AsyncClient, name: str) -> None:
    to = await publish(api, name, RENAMED)
    answer = await api.get(f"/api/v1/definitions/{name}/versions/1/diff?to={to}")
    found = answer.json()
    changes = {(step["step"], step["change"]) for step in found["steps"]}
    assert changes == {
        ("rest", "added"),
        ("nap", "removed"),
        ("more", "added"),
        ("end", "changed"),
        ("end", "moved"),
    }
    assert found["compatible"] is True
