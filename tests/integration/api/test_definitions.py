"""Definitions and their versions through the API."""

from httpx2 import AsyncClient

from db import runs
from db.engine import Database
from schemas.run import RunStatus
from tests.integration.api.conftest import WAITING, YAML, Publish, a_name, assert_problem


async def test_yaml_keeps_its_source(api: AsyncClient) -> None:
    name = a_name()
    text = "# a comment that stays\n" + WAITING.format(name=name)
    answer = await api.post("/api/v1/definitions", content=text, headers=YAML)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/definitions/{name}"
    made = answer.json()
    assert (made["name"], made["version"], made["status"]) == (name, 1, "draft")
    stored = (await api.get(f"/api/v1/definitions/{name}/versions/1")).json()
    assert stored["source"] == text
    assert [step["id"] for step in stored["definition"]["steps"]] == ["more", "go"]


async def test_json_is_taken_too(api: AsyncClient) -> None:
    name = a_name()
    body = {"name": name, "title": "T", "steps": [{"id": "a", "type": "delay", "for": "3d"}]}
    answer = await api.post("/api/v1/definitions?publish=true", json=body)
    assert (answer.status_code, answer.json()["active"]) == (201, True)
    found = (await api.get(f"/api/v1/definitions/{name}")).json()
    assert (found["title"], found["version"], found["definition"]) == ("T", 1, body)


async def test_a_name_is_taken_once(api: AsyncClient, publish: Publish) -> None:
    name = await publish()
    answer = await api.post("/api/v1/definitions", content=WAITING.format(name=name), headers=YAML)
    assert_problem(answer, 409, "CONFLICT")


async def test_versions_from_draft_to_deprecated(api: AsyncClient, publish: Publish) -> None:
    name = await publish()
    at = f"/api/v1/definitions/{name}"
    text = WAITING.format(name=name).replace("input.n + 1", "input.n + 2")
    answer = await api.post(f"{at}/versions", content=text, headers=YAML)
    assert (answer.status_code, answer.json()["version"]) == (201, 2)
    assert answer.headers["location"] == f"{at}/versions/2"
    assert (await api.get(at)).json()["version"] == 1

    assert (await api.post(f"{at}/versions/2/publish")).json()["active"] is True
    assert (await api.get(at)).json()["version"] == 2
    listed = (await api.get(f"{at}/versions")).json()["items"]
    assert [(row["version"], row["active"]) for row in listed] == [(2, True), (1, False)]

    answer = await api.post(f"{at}/versions/2/deprecate")
    assert (answer.json()["status"], answer.json()["active"]) == ("deprecated", False)
    assert (await api.get(at)).json()["version"] == 1
    assert_problem(await api.post(f"{at}/versions/2/publish"), 409, "VERSION_CONFLICT")


async def test_a_version_has_the_name_of_its_definition(api: AsyncClient, publish: Publish) -> None:
    name = await publish()
    answer = await api.post(
        f"/api/v1/definitions/{name}/versions",
        content=WAITING.format(name="another"),
        headers=YAML,
    )
    body = assert_problem(answer, 422, "DEFINITION_INVALID")
    assert body["problems"][0]["path"] == "name"


async def test_delete_only_without_open_runs(
    api: AsyncClient, publish: Publish, database: Database
) -> None:
    name = await publish()
    async with database.session() as session:
        run = await runs.insert_queued(session, "default", definition=name, version=1, input={})
    assert run.status is RunStatus.QUEUED
    assert_problem(await api.delete(f"/api/v1/definitions/{name}"), 409, "CONFLICT")
    async with database.session() as session:
        await runs.remove_unstarted(session, "default", run.id)
    assert (await api.delete(f"/api/v1/definitions/{name}")).status_code == 204
    answer = await api.get(f"/api/v1/definitions/{name}")
    assert_problem(answer, 404, "DEFINITION_NOT_FOUND")


async def test_texts_that_no_table_keeps(api: AsyncClient) -> None:
    body = '{"name": "nul", "title": "a\\u0000b", "steps": [{"id": "a", "type": "stop"}]}'
    headers = {"content-type": "application/json"}
    answer = await api.post("/api/v1/definitions", content=body, headers=headers)
    assert_problem(answer, 422, "DEFINITION_INVALID")
    answer = await api.post("/api/v1/definitions/validate", content=body, headers=headers)
    assert len(answer.json()["problems"]) == 1


async def test_schema_and_catalogue(api: AsyncClient) -> None:
    schema = (await api.get("/api/v1/schema")).json()
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    actions = (await api.get("/api/v1/actions")).json()["items"]
    assert {"email", "http", "ai", "lead"} <= {action["name"] for action in actions}
