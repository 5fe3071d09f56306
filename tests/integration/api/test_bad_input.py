"""Every kind of bad input is a problem with its code."""

import json

import pytest
from httpx2 import AsyncClient
from temporalio.worker import Worker

from tests.integration.api.conftest import WAITING, YAML, Publish, a_name, assert_problem, start


async def test_invalid_definition_names_every_fault(api: AsyncClient) -> None:
    text = "name: bad\nsteps:\n  - {id: a, type: nonsense}\n  - {id: a, type: delay, for: 3x}\n"
    answer = await api.post("/api/v1/definitions", content=text, headers=YAML)
    body = assert_problem(answer, 422, "DEFINITION_INVALID")
    assert len(body["problems"]) >= 2
    assert all(each["position"]["line"] >= 3 for each in body["problems"])
    assert (await api.get("/api/v1/definitions/bad")).status_code == 404


async def test_broken_yaml_has_a_position(api: AsyncClient) -> None:
    answer = await api.post("/api/v1/definitions", content="name: [", headers=YAML)
    body = assert_problem(answer, 422, "DEFINITION_INVALID")
    assert body["problems"][0]["position"]["line"] == 1


async def test_broken_json_is_a_definition_fault(api: AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.post("/api/v1/definitions", content='{"name": ', headers=headers)
    assert_problem(answer, 422, "DEFINITION_INVALID")


async def test_unknown_content_type(api: AsyncClient) -> None:
    answer = await api.post(
        "/api/v1/definitions", content="<x/>", headers={"content-type": "text/xml"}
    )
    assert_problem(answer, 422, "INVALID_INPUT")


async def test_definition_over_its_limit(api: AsyncClient) -> None:
    text = WAITING.format(name="big") + "#" * 512 * 1024
    answer = await api.post("/api/v1/definitions", content=text, headers=YAML)
    body = assert_problem(answer, 413, "LIMIT_EXCEEDED")
    assert "524288" in body["detail"]


async def test_too_many_steps(api: AsyncClient) -> None:
    steps = "\n".join(f"  - {{id: s{i}, type: set, vars: {{x: 1}}}}" for i in range(501))
    answer = await api.post(
        "/api/v1/definitions", content=f"name: many\nsteps:\n{steps}\n", headers=YAML
    )
    body = assert_problem(answer, 422, "LIMIT_EXCEEDED")
    assert "500" in body["detail"]


async def test_unknown_definition(api: AsyncClient) -> None:
    answer = await api.post("/api/v1/definitions/nowhere/runs", json={})
    assert_problem(answer, 404, "DEFINITION_NOT_FOUND")


async def test_unknown_version(api: AsyncClient, publish: Publish) -> None:
    name = await publish()
    for answer in (
        await api.post(f"/api/v1/definitions/{name}/runs", json={"version": 7}),
        await api.get(f"/api/v1/definitions/{name}/versions/7"),
    ):
        assert_problem(answer, 404, "NOT_FOUND")


async def test_nothing_published(api: AsyncClient, publish: Publish) -> None:
    name = await publish(published=False)
    answer = await api.post(f"/api/v1/definitions/{name}/runs", json={"input": {"n": 1}})
    assert_problem(answer, 404, "DEFINITION_NOT_FOUND")


async def test_draft_and_deprecated_versions_do_not_start(
    api: AsyncClient, publish: Publish
) -> None:
    name = await publish(published=False)
    at = f"/api/v1/definitions/{name}"
    body = {"version": 1, "input": {"n": 1}}
    assert_problem(await api.post(f"{at}/runs", json=body), 409, "VERSION_CONFLICT")
    assert (await api.post(f"{at}/versions/1/publish")).status_code == 200
    assert (await api.post(f"{at}/versions/1/deprecate")).json()["status"] == "deprecated"
    assert_problem(await api.post(f"{at}/runs", json=body), 409, "VERSION_CONFLICT")


async def test_wrong_input_names_each_fault(api: AsyncClient, publish: Publish) -> None:
    name = await publish()
    answer = await api.post(
        f"/api/v1/definitions/{name}/runs", json={"input": {"n": "one", "m": 2}}
    )
    body = assert_problem(answer, 422, "INVALID_INPUT")
    assert {each["path"] for each in body["problems"]} == {"n", ""}
    assert (await api.get("/api/v1/runs", params={"definition": name})).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"nput": {}}',
        b'{"input": 3}',
        b'{"priority": 9}',
        b'{"lead": {"email": "nobody"}}',
        b'{"input": {"n": 1, "x": "a\\u0000b"}}',
        b'{"input": {"n": 1, "x": "\\ud800"}}',
        b'{"input": {"n": 1, "x": NaN}}',
        b'{"input": {"n": 1, "x": 1e999}}',
        b'{"input": {"n": 1, "x": ' + b"[" * 200 + b"]" * 200 + b"}}",
    ],
)
async def test_malformed_start(api: AsyncClient, publish: Publish, body: bytes) -> None:
    name = await publish()
    answer = await api.post(
        f"/api/v1/definitions/{name}/runs",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert_problem(answer, 422, "INVALID_INPUT")


async def test_json_deeper_than_the_parser(api: AsyncClient, publish: Publish) -> None:
    name = await publish()
    answer = await api.post(
        f"/api/v1/definitions/{name}/runs",
        content=b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        headers={"content-type": "application/json"},
    )
    assert_problem(answer, 400, "INVALID_INPUT")


async def test_input_over_its_limit(api: AsyncClient, publish: Publish) -> None:
    name = await publish()
    at = f"/api/v1/definitions/{name}/runs"
    answer = await api.post(at, json={"input": {"x": "y" * (1024 * 1024)}})
    assert_problem(answer, 413, "LIMIT_EXCEEDED")


async def test_body_over_the_limit_is_refused_by_its_length(api: AsyncClient) -> None:
    body = json.dumps({"input": {"x": "y" * (3 * 1024 * 1024)}})
    answer = await api.post(
        "/api/v1/definitions/any/runs",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert_problem(answer, 413, "LIMIT_EXCEEDED")


async def test_body_over_the_limit_without_a_length(api: AsyncClient) -> None:
    async def endless():
        for _ in range(40):
            yield b"y" * 65536

    answer = await api.post(
        "/api/v1/definitions/any/runs",
        content=endless(),
        headers={"content-type": "application/json"},
    )
    assert_problem(answer, 413, "LIMIT_EXCEEDED")


async def test_unknown_form(api: AsyncClient) -> None:
    answer = await api.post("/api/v1/forms/none/submissions", json={"fields": {}})
    assert_problem(answer, 404, "NOT_FOUND")


async def test_unknown_run_everywhere(api: AsyncClient) -> None:
    for path in ("", "/steps", "/events"):
        assert_problem(await api.get(f"/api/v1/runs/none{path}"), 404, "NOT_FOUND")
    for path in ("pause", "resume", "cancel"):
        assert_problem(await api.post(f"/api/v1/runs/none/{path}"), 404, "NOT_FOUND")
    answer = await api.post("/api/v1/runs/none/signals/go", json={})
    assert_problem(answer, 404, "NOT_FOUND")


async def test_unknown_address_and_method(api: AsyncClient) -> None:
    assert_problem(await api.get("/api/v1/nothing"), 404, "NOT_FOUND")
    answer = await api.delete("/api/v1/runs")
    assert_problem(answer, 405, "INVALID_INPUT")
    assert "GET" in answer.headers["allow"]


async def test_bad_filters(api: AsyncClient) -> None:
    for query in (
        "cursor=x",
        "limit=0",
        "limit=201",
        "status=odd",
        "from=2026-01-01T00:00:00",
        "definition=UPPER",
        "lead=%00",
    ):
        assert_problem(await api.get(f"/api/v1/runs?{query}"), 422, "INVALID_INPUT")


async def test_reserved_signals(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    run_id = await start(api, await publish())
    answer = await api.post(f"/api/v1/runs/{run_id}/signals/cancel", json={})
    assert_problem(answer, 422, "INVALID_INPUT")


async def test_validation_has_no_side_effect(api: AsyncClient) -> None:
    name = a_name()
    at = "/api/v1/definitions/validate"
    answer = await api.post(at, content=WAITING.format(name=name), headers=YAML)
    assert (answer.status_code, answer.json()) == (200, {"problems": []})
    answer = await api.post(at, json={"name": name, "steps": [{"id": "x", "type": "dealy"}]})
    assert answer.status_code == 200
    problem = answer.json()["problems"][0]
    assert problem["code"] == "DEFINITION_INVALID"
    assert problem["message"]
    assert (await api.get(f"/api/v1/definitions/{name}")).status_code == 404
