"""Sub-runs and batches through the API: their rows, their parents, and what a cancel reaches."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient

CHILD = """
name: {child}
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
output: {{twice: "{{{{ input.n * 2 }}}}"}}
steps:
  - {{id: nap, type: delay, if: input.n < 0, for: 1h}}
  - {{id: bad, type: fail, if: input.n == 13, code: UNLUCKY, message: thirteen}}
"""
PARENT = """
name: {name}
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
output: "{{{{ steps.sub.output }}}}"
steps:
  - id: sub
    type: workflow
    definition: {child}
    input: {{n: "{{{{ input.n }}}}"}}
    depends: {depends}
"""
MANY = """
name: {name}
input: {{type: object, properties: {{items: {{type: array, items: {{type: integer}}}}}}}}
output: "{{{{ size(steps.each.output.filter(one, one.status == 'failed')) }}}}"
steps:
  - id: each
    type: for_each
    items: "{{{{ input.items }}}}"
    tolerate: 1%
    concurrency: 20
    do:
      - {{id: bad, type: fail, if: item % 100 == 7, code: NOT_TODAY}}
      - {{id: good, type: set, vars: {{seen: "{{{{ item }}}}"}}}}
"""


class Begun:
    """A published definition's run, and what the API says of it."""

    def __init__(self, api: AsyncClient, run_id: str) -> None:
        self._api = api
        self.id = run_id

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(180):
            while True:
                run = (await self._api.get(f"/api/v1/runs/{self.id}")).json()
                if holds(run):
                    return run
                await asyncio.sleep(0.05)

    async def ended(self) -> dict[str, Any]:
        return await self.until(lambda run: run["finished_at"] is not None)

    async def children(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(180):
            while True:
                answer = await self._api.get("/api/v1/runs", params={"parent": self.id})
                if len(answer.json()["items"]) >= count:
                    return answer.json()["items"]
                await asyncio.sleep(0.05)


async def begin(api: AsyncClient, given: dict[str, Any], *texts: str, **words: str) -> Begun:
    words = {"name": f"above-{uuid4().hex[:8]}", "child": f"below-{uuid4().hex[:8]}", **words}
    for text in texts:
        answer = await api.post(
            "/api/v1/definitions?publish=true",
            content=text.format(**words),
            headers={"content-type": "application/yaml"},
        )
        assert answer.status_code == 201, answer.text
    answer = await api.post(f"/api/v1/definitions/{words['name']}/runs", json={"input": given})
    assert answer.status_code == 201, answer.text
    run = Begun(api, answer.json()["id"])
    top = (await api.get("/api/v1/runs", params={"definition": words["child"]})).json()
    assert top["items"] == [], "a sub-run is no run of the top list"
    return run


@pytest.mark.usefixtures("worker")
async def test_a_sub_run_has_a_row_below_its_parent(api: AsyncClient) -> None:
    run = await begin(api, {"n": 4}, CHILD, PARENT, depends="blocking")
    assert (await run.ended())["output"] == {"twice": 8}
    (child,) = await run.children(1)
    assert (child["parent_run_id"], child["parent_path"]) == (run.id, "sub")
    detail = await Begun(api, child["id"]).ended()
    assert (detail["status"], detail["output"]) == ("completed", {"twice": 8})
    assert detail["input"] == {"n": 4}
    assert detail["started_at"] is not None


@pytest.mark.usefixtures("worker")
async def test_a_failure_keeps_its_code_and_names_the_run_below(api: AsyncClient) -> None:
    run = await begin(api, {"n": 13}, CHILD, PARENT, depends="blocking")
    ended = await run.ended()
    (child,) = await run.children(1)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "UNLUCKY")
    assert ended["error"]["step"] == "sub"
    assert ended["error"]["details"] == {"run_id": child["id"], "step": "bad"}
    again = await begin(api, {"n": 13}, CHILD, PARENT, depends="conditional")
    output = (await again.ended())["output"]
    assert (output["status"], output["error"]["code"]) == ("failed", "UNLUCKY")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("depends", ["blocking", "parallel"])
async def test_a_cancel_reaches_the_run_below(api: AsyncClient, depends: str) -> None:
    run = await begin(api, {"n": -1}, CHILD, PARENT, depends=depends)
    (child,) = await run.children(1)
    below = Begun(api, child["id"])
    await below.until(lambda found: found["status"] == "waiting")
    assert (await api.post(f"/api/v1/runs/{run.id}/cancel")).status_code == 202
    assert (await run.ended())["status"] == "cancelled"
    # The parent ends after the child, whose own last write is its row's.
    assert (await below.ended())["status"] == "cancelled"


@pytest.mark.usefixtures("worker")
async def test_a_thousand_items_with_one_percent_failing(api: AsyncClient) -> None:
    run = await begin(api, {"items": list(range(1000))}, MANY)
    ended = await run.ended()
    assert (ended["status"], ended["output"]) == ("completed", 10), ended["error"]
    batches = await run.children(10)
    assert sorted(one["parent_path"] for one in batches) == sorted(
        f"each[{offset}]" for offset in range(0, 1000, 100)
    )
    assert {one["status"] for one in batches} == {"completed"}
    steps = (await api.get(f"/api/v1/runs/{run.id}/steps")).json()
    assert [step["path"] for step in steps] == ["each"]
    results = steps[0]["output"]
    assert [one["index"] for one in results] == list(range(1000))
    failed = [one for one in results if one["status"] == "failed"]
    assert {one["error"]["code"] for one in failed} == {"NOT_TODAY"}
    first = next(one for one in batches if one["parent_path"] == "each[100]")
    inner = (await api.get(f"/api/v1/runs/{first['id']}/steps")).json()
    paths = {step["path"] for step in inner}
    assert {"each", "each[100].good", "each[199].good", "each[107].bad"} <= paths


APART = """
name: {name}
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
output: "{{{{ steps.sub.output }}}}"
steps:
  - id: sub
    type: workflow
    definition: {child}
    input: {{n: "{{{{ input.n }}}}"}}
    mode: detach
"""


@pytest.mark.usefixtures("worker")
async def test_a_failed_run_is_a_dead_letter_where_nobody_waits_for_it(api: AsyncClient) -> None:
    async def letters(run_id: str, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(120):
            while True:
                answer = await api.get("/api/v1/dead-letters", params={"run": run_id})
                if len(answer.json()["items"]) >= count:
                    return answer.json()["items"]
                await asyncio.sleep(0.05)

    run = await begin(api, {"n": 13}, CHILD, APART)
    assert (await run.ended())["status"] == "completed"
    (child,) = await run.children(1)
    ended = await Begun(api, child["id"]).ended()
    assert ended["status"] == "failed"
    (letter,) = await letters(child["id"], 1)
    assert (letter["kind"], letter["code"], letter["step_path"]) == ("run", "UNLUCKY", "bad")
    assert await letters(run.id, 0) == []
    # It is tried again as a run of its own.
    body = {"from": "start", "input": {"n": 4}}
    answer = await api.post(f"/api/v1/dead-letters/{letter['id']}/redrive", json=body)
    assert answer.status_code == 202, answer.text
    again = await Begun(api, answer.json()["run_id"]).ended()
    assert (again["output"], again["parent_run_id"]) == ({"twice": 8}, None)
    # Where one waits, the letter is that run's.
    above = await begin(api, {"n": 13}, CHILD, PARENT, depends="blocking")
    await above.ended()
    (below,) = await above.children(1)
    assert (await letters(above.id, 1))[0]["code"] == "UNLUCKY"
    assert await letters(below["id"], 0) == []
