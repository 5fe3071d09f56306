"""Workspaces: made by the installation's operator; what is one's own answers 404 to the others."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from tests.integration.api.conftest import (
    WAITING,
    YAML,
    Publish,
    a_name,
    assert_problem,
    start,
)
from tests.integration.api.test_api_keys import new_key

FORM = {"type": "object", "required": ["email"], "properties": {"email": {"type": "string"}}}


@pytest.fixture
async def tenant(app: FastAPI, api: AsyncClient) -> AsyncIterator[AsyncClient]:
    """An admin of a workspace of its own."""
    name = a_name("tenant")
    made = await api.post("/api/v1/workspaces", json={"name": name, "title": "A tenant"})
    assert made.status_code == 201, made.text
    key = await new_key(api, role="admin", workspace=name)
    assert key["workspace"] == name
    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver",
        headers={"X-API-Key": key["key"], "X-Name": name},
    ) as client:
        yield client


async def test_the_life_of_a_workspace(api: AsyncClient) -> None:
    name = a_name("life")
    path = f"/api/v1/workspaces/{name}"
    assert_problem(await api.get(path), 404, "NOT_FOUND")
    body = {"name": name, "title": "One"}
    assert (await api.post("/api/v1/workspaces", json=body)).status_code == 201
    assert_problem(await api.post("/api/v1/workspaces", json=body), 409, "CONFLICT")
    default = await api.post("/api/v1/workspaces", json={"name": "default"})
    assert_problem(default, 409, "CONFLICT")
    for odd in ("*", "A", "a b", "", "a" * 64):
        answer = await api.post("/api/v1/workspaces", json={"name": odd})
        assert_problem(answer, 422, "INVALID_INPUT")
    assert (await api.patch(path, json={"title": "Two"})).json()["title"] == "Two"
    listed = (await api.get("/api/v1/workspaces")).json()["items"]
    assert {"Two"} == {each["title"] for each in listed if each["name"] == name}
    key = await new_key(api, workspace=name)
    assert [each["id"] for each in (await keys_of(api, name))] == [key["id"]]
    assert (await api.delete(path)).status_code == 204
    assert_problem(await api.delete(path), 404, "NOT_FOUND")
    assert_problem(await api.get("/api/v1/api-keys", params={"workspace": name}), 404, "NOT_FOUND")
    missing = await api.post("/api/v1/api-keys", json={"name": "x", "workspace": name})
    assert_problem(missing, 404, "NOT_FOUND")


async def keys_of(api: AsyncClient, workspace: str) -> list[dict[str, Any]]:
    return (await api.get("/api/v1/api-keys", params={"workspace": workspace})).json()["items"]


@pytest.mark.parametrize("name", ["sojourn", "sojourn-bulk"])
async def test_names_of_the_service_itself_are_kept(api: AsyncClient, name: str) -> None:
    answer = await api.post("/api/v1/workspaces", json={"name": name})
    assert_problem(answer, 409, "CONFLICT")


async def test_a_workspace_with_definitions_stays(api: AsyncClient, tenant: AsyncClient) -> None:
    text = WAITING.format(name=a_name())
    made = await tenant.post("/api/v1/definitions", content=text, headers=YAML)
    assert made.status_code == 201
    answer = await api.delete(f"/api/v1/workspaces/{tenant.headers['x-name']}")
    assert_problem(answer, 409, "CONFLICT")


async def test_ids_of_another_workspace_answer_404(
    api: AsyncClient, tenant: AsyncClient, publish: Publish
) -> None:
    """Every address of something that is there, asked for by an admin of another workspace."""
    name = await publish()
    run_id = await start(api, name)
    slug = a_name("thing")
    hidden = slug.replace("-", "_")
    form = await api.put(f"/api/v1/forms/{slug}", json={"definition": name, "fields": FORM})
    assert form.status_code == 200, form.text
    template = await api.put(
        f"/api/v1/templates/{slug}", json={"subject": "Hello", "text": "Hello"}
    )
    assert template.status_code == 200, template.text
    assert (await api.put(f"/api/v1/secrets/{hidden}", json={"value": "hush"})).status_code == 200
    hook = {"kind": "webhook", "verify": {"scheme": "none"}, "input": {"n": 1}}
    trigger = await api.post(f"/api/v1/definitions/{name}/triggers", json=hook)
    assert trigger.status_code == 201, trigger.text
    key = await new_key(api)
    member = await api.put(f"/api/v1/members/{slug}", json={"role": "viewer"})
    assert member.status_code == 200, member.text
    order = {"action": "pause", "ids": [run_id]}
    job = await api.post("/api/v1/bulk", json=order)
    assert job.status_code == 202, job.text
    gone = {"run_id": run_id, "trigger_id": trigger.json()["id"], "job_id": job.json()["id"]}
    runs = f"/api/v1/runs/{run_id}"
    triggers = f"/api/v1/definitions/{name}/triggers/{gone['trigger_id']}"
    asked = [
        ("GET", f"/api/v1/definitions/{name}"),
        ("DELETE", f"/api/v1/definitions/{name}"),
        ("GET", f"/api/v1/definitions/{name}/versions/1"),
        ("POST", f"/api/v1/definitions/{name}/versions/1/deprecate"),
        ("GET", f"/api/v1/definitions/{name}/queue"),
        ("GET", f"/api/v1/analytics/definitions/{name}"),
        ("GET", runs),
        ("GET", f"{runs}/steps"),
        ("GET", f"{runs}/events"),
        ("GET", f"{runs}/logs"),
        ("GET", f"{runs}/ai-usage"),
        ("POST", f"{runs}/pause"),
        ("POST", f"{runs}/resume"),
        ("POST", f"{runs}/cancel"),
        ("POST", f"{runs}/signals/go"),
        ("POST", f"{runs}/steps/go/retry"),
        ("POST", f"{runs}/steps/go/skip"),
        ("POST", f"{runs}/steps/go/abort"),
        ("GET", triggers),
        ("DELETE", triggers),
        ("POST", f"{triggers}/disable"),
        ("POST", f"{triggers}/rotate"),
        ("GET", f"/api/v1/bulk/{gone['job_id']}"),
        ("GET", f"/api/v1/bulk/{gone['job_id']}/items"),
        ("POST", f"/api/v1/bulk/{gone['job_id']}/cancel"),
        ("GET", f"/api/v1/forms/{slug}"),
        ("DELETE", f"/api/v1/forms/{slug}"),
        ("GET", f"/api/v1/templates/{slug}"),
        ("DELETE", f"/api/v1/templates/{slug}"),
        ("DELETE", f"/api/v1/secrets/{hidden}"),
        ("GET", f"/api/v1/api-keys/{key['id']}"),
        ("DELETE", f"/api/v1/api-keys/{key['id']}"),
        ("POST", f"/api/v1/api-keys/{key['id']}/rotate"),
        ("DELETE", f"/api/v1/members/{slug}"),
    ]
    for method, path in asked:
        answer = await tenant.request(method, path, json=None if method == "GET" else {})
        assert answer.status_code == 404, (method, path, answer.text)
    posted = await tenant.post(f"/api/v1/definitions/{name}/runs", json={"input": {"n": 1}})
    assert_problem(posted, 404, "DEFINITION_NOT_FOUND")
    # What lists show is one's own, and what is one's own is still there.
    for path in ("definitions", "runs", "forms", "templates", "secrets", "members", "bulk"):
        assert (await tenant.get(f"/api/v1/{path}")).json()["items"] == [], path
    assert (await api.get(runs)).status_code == 200
    assert (await api.get(f"/api/v1/forms/{slug}")).status_code == 200
    assert (await api.get("/api/v1/me", headers={"X-API-Key": key["key"]})).status_code == 200
    # The same names in another workspace are others.
    assert (
        await tenant.put(f"/api/v1/secrets/{hidden}", json={"value": "hush"})
    ).status_code == 200
    assert len((await tenant.get("/api/v1/secrets")).json()["items"]) == 1


async def test_what_the_public_sends_belongs_to_the_tokens_workspace(
    app: FastAPI, api: AsyncClient, tenant: AsyncClient
) -> None:
    name = a_name()
    text = (
        WAITING.format(name=name)
        .replace("required: [n]", "required: []")
        .replace("additionalProperties: false", "additionalProperties: true")
    )
    text = text.replace("input.n + 1", "1")
    made = await tenant.post("/api/v1/definitions?publish=true", content=text, headers=YAML)
    assert made.status_code == 201, made.text
    slug = a_name("form")
    form = await tenant.put(f"/api/v1/forms/{slug}", json={"definition": name, "fields": FORM})
    assert form.status_code == 200, form.text
    async with AsyncClient(
        transport=ASGITransport(app=app), base_url="http://testserver"
    ) as anyone:
        body = {"fields": {"email": "ada@example.com"}}
        by_name = await anyone.post(f"/api/v1/forms/{slug}/submissions", json=body)
        assert_problem(by_name, 404, "NOT_FOUND")
        key = form.json()["public_key"]
        sent = await anyone.post(f"/api/v1/forms/{key}/submissions", json=body)
        assert sent.status_code == 201, sent.text
        run_id = sent.json()["run_id"]
        hook = await tenant.post(
            f"/api/v1/definitions/{name}/triggers",
            json={"kind": "webhook", "verify": {"scheme": "none"}},
        )
        assert hook.status_code == 201, hook.text
        token = hook.json()["token"]
        delivered = await anyone.post(f"/api/v1/hooks/{token}", json={"x": 1})
        assert delivered.status_code == 202, delivered.text
    assert (await tenant.get(f"/api/v1/runs/{run_id}")).json()["status"] in ("running", "waiting")
    assert_problem(await api.get(f"/api/v1/runs/{run_id}"), 404, "NOT_FOUND")
    found = (await tenant.get("/api/v1/webhook-deliveries")).json()["items"]
    assert len(found) == 1
    assert (await tenant.get("/api/v1/leads")).json()["items"][0]["email"] == "ada@example.com"
    # A form named like another workspace's key does not come before it.
    shadow = await api.put(f"/api/v1/forms/{key}", json={"definition": name, "fields": FORM})
    assert_problem(shadow, 404, "DEFINITION_NOT_FOUND")
