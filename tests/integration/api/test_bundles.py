"""Bundles over the API: they carry everything but secrets, whole or not at all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import yaml
from httpx2 import AsyncClient
from sqlalchemy import func
from sqlmodel import select

from api.app import create_app
from api.config import ApiConfig
from db.definitions import Version
from db.engine import Database
from db.run_table import Run
from dev.examples import publish_examples
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from tests.integration.api.conftest import API_KEY, YAML, assert_problem, client_of
from workflows.gateway import Gateway

MakeClient = Callable[[], Awaitable[tuple[AsyncClient, Database]]]
HELLO = """\
name: hello
steps:
  # Kept, as all of it.
  - {id: greet, type: email, with: {to: a@example.com, template: hello, connection: crm}}
  - id: call
    type: http
    with: {url: "https://example.com/", headers: {X-Key: "{{ secrets.API_KEY }}"}}
  - {id: below, type: workflow, definition: other}
"""
TRIGGERS: list[dict[str, Any]] = [
    {"kind": "manual"},
    {"kind": "api", "enabled": False},
    {"kind": "schedule", "cron": "30 9 * * MON-FRI", "timezone": "Europe/Berlin", "jitter": "5m"},
    {"kind": "schedule", "every": "15m", "input": {"n": "{{ schedule.time }}", "yes": "08"}},
    {"kind": "event", "event": "order.paid", "where": "event.data.amount > 100"},
    {"kind": "event", "event": "order.paid", "enabled": False},
    {"kind": "webhook", "verify": {"scheme": "none"}, "input": {"all": "{{ body }}"}},
    {
        "kind": "webhook",
        "verify": {"scheme": "stripe", "secrets": ["STRIPE"], "tolerance": "2m"},
        "dedupe": "id",
        "headers": ["X-Kind"],
    },
]


@pytest.fixture
async def elsewhere(
    migrated_database: Callable[[], Awaitable[str]],
    gateway: Gateway,
    catalogue: Catalogue,
    keyring: KeyRing,
) -> AsyncIterator[MakeClient]:
    """Call it for the client of an API with an empty database of its own, and that database."""
    opened: list[Database] = []
    clients: list[Any] = []

    async def made() -> tuple[AsyncClient, Database]:
        database = Database(await migrated_database())
        opened.append(database)
        app = create_app(
            database=database,
            gateway=gateway,
            catalogue=catalogue,
            config=ApiConfig(api_key=API_KEY, public_url="https://sojourn.example.com"),
            keyring=keyring,
        )
        clients.append(client_of(app))
        return await clients[-1].__aenter__(), database

    yield made
    for client in clients:
        await client.__aexit__(None, None, None)
    for database in opened:
        await database.close()


async def filled(client: AsyncClient) -> None:
    """Store the examples, and a definition with a trigger of every kind."""
    await publish_examples(client)
    await client.put(
        "/api/v1/templates/hello",
        json={"subject": "Hello", "text": "Line\n  indented\n\ttabbed \n", "html": "<p>Hi</p>"},
    )
    answer = await client.put("/api/v1/secrets/STRIPE", json={"value": "canary-0123456789"})
    assert answer.status_code == 200, answer.text
    body = {"content": HELLO, "headers": YAML}
    answer = await client.post("/api/v1/definitions", params={"publish": True}, **body)
    assert answer.status_code == 201, answer.text
    for given in TRIGGERS:
        answer = await client.post("/api/v1/definitions/hello/triggers", json=given)
        assert answer.status_code == 201, answer.text


async def export(client: AsyncClient, names: str | None = None) -> str:
    answer = await client.get("/api/v1/export", params={"definitions": names} if names else {})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/yaml")
    return answer.text


async def load(client: AsyncClient, bundle: str, **params: Any) -> Any:
    answer = await client.post("/api/v1/import", params=params, content=bundle, headers=YAML)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_bundle_comes_back_byte_for_byte(elsewhere: MakeClient) -> None:
    (first, _), (second, database) = await elsewhere(), await elsewhere()
    await filled(first)
    bundle = await export(first)
    assert "canary" not in bundle
    assert "token" not in yaml.safe_load(bundle)["triggers"][0]["trigger"]
    await second.put("/api/v1/secrets/STRIPE", json={"value": "another-0123456789"})
    answer = await load(second, bundle, enable=True)
    assert {one["action"] for one in answer["items"]} == {"create"}
    assert await export(second) == bundle
    again = await load(second, bundle, enable=True)
    assert {one["action"] for one in again["items"]} == {"unchanged"}
    for mode in ("update", "skip"):
        again = await load(second, bundle, mode=mode)
        assert {one["action"] for one in again["items"]} == {"unchanged"}
    assert await export(second) == bundle
    async with database.session() as session:
        assert (await session.exec(select(func.count()).select_from(Run))).one() == 0


async def test_an_import_is_inert_and_says_what_is_missing(elsewhere: MakeClient) -> None:
    (first, _), (second, _) = await elsewhere(), await elsewhere()
    await filled(first)
    bundle = await export(first, "hello,lead-nurture")
    answer = await load(second, bundle)
    assert {(one["kind"], one["name"], *one["needed_by"]) for one in answer["missing"]} == {
        ("connection", "crm", "hello"),
        ("secret", "API_KEY", "hello"),
        ("secret", "STRIPE", "hello/webhook"),
        ("definition", "other", "hello"),
    }
    assert {one["name"] for one in answer["items"] if one["kind"] == "template"} == {
        "hello",
        "welcome",
        "followup",
    }
    page = await second.get("/api/v1/definitions/hello/triggers")
    states = [(one["kind"], one["enabled"]) for one in page.json()["items"]]
    assert sorted(states) == [
        ("api", False),
        ("event", False),
        ("event", False),
        ("manual", True),
        ("schedule", False),
        ("schedule", False),
        ("webhook", False),
        ("webhook", False),
    ]
    forms = (await second.get("/api/v1/definitions/lead-nurture/triggers")).json()["items"]
    assert [(one["kind"], one["enabled"]) for one in forms] == [("form", False)]
    hooks = [one for one in answer["items"] if one["url"]]
    assert len(hooks) == 2
    assert all(
        one["url"] == f"https://sojourn.example.com/api/v1/hooks/{one['token']}" for one in hooks
    )
    disabled = bundle.replace("enabled: true", "enabled: false")
    assert (await export(second)).replace("enabled: true", "enabled: false") == disabled


async def test_a_trigger_whose_secret_is_missing_arrives_disabled(elsewhere: MakeClient) -> None:
    (first, _), (second, _) = await elsewhere(), await elsewhere()
    await filled(first)
    answer = await load(second, await export(first, "hello"), enable=True)
    [lacking] = [one for one in answer["items"] if one["problems"] and one["kind"] == "trigger"]
    assert (lacking["enabled"], lacking["problems"][0]["rule"]) == (False, "unknown-secret")


async def test_a_dry_run_stores_nothing_and_plans_everything(elsewhere: MakeClient) -> None:
    (first, _), (second, database) = await elsewhere(), await elsewhere()
    await filled(first)
    bundle = await export(first)
    answer = await load(second, bundle, dry_run=True)
    assert answer["dry_run"] is True
    assert {one["action"] for one in answer["items"]} == {"create"}
    async with database.session() as session:
        assert (await session.exec(select(func.count()).select_from(Version))).one() == 0
    await load(second, bundle)
    changed = bundle.replace("# Kept, as all of it.", "# Changed.")
    for mode, action in (("create", "refuse"), ("update", "update"), ("skip", "skip")):
        plan = await load(second, changed, dry_run=True, mode=mode)
        [hello] = [
            one for one in plan["items"] if (one["kind"], one["name"]) == ("definition", "hello")
        ]
        assert hello["action"] == action


async def test_modes_decide_over_what_is_different(elsewhere: MakeClient) -> None:
    client, _ = await elsewhere()
    await filled(client)
    changed = (await export(client, "hello")).replace("# Kept,", "# Changed,")
    refused = await client.post("/api/v1/import", content=changed, headers=YAML)
    body = assert_problem(refused, 409, "CONFLICT")
    assert [one["path"] for one in body["problems"]] == ["definitions[0]"]
    skipped = await load(client, changed, mode="skip")
    assert {one["action"] for one in skipped["items"] if one["kind"] != "template"} == {"skip"}
    updated = await load(client, changed, mode="update")
    assert updated["items"][0] | {"action": "update", "version": 2} == updated["items"][0]
    assert await export(client, "hello") == changed
    assert (await client.get("/api/v1/definitions/hello")).json()["version"] == 2


async def test_nothing_is_stored_when_one_thing_is_wrong(elsewhere: MakeClient) -> None:
    (first, _), (second, _) = await elsewhere(), await elsewhere()
    await filled(first)
    data = yaml.safe_load(await export(first))
    data["definitions"][-1]["source"] = "name: ticket-triage\nsteps: [{id: a, type: delya}]\n"
    data["templates"][0]["text"] = "{% if %}"
    data["triggers"].append({"definition": "nowhere", "trigger": {"event": "a"}})
    data["triggers"].append(
        {"definition": "hello", "trigger": {"event": "a", "where": "event.what"}}
    )
    refused = await second.post("/api/v1/import", json=data)
    body = assert_problem(refused, 422, "INVALID_INPUT")
    count = len(data["definitions"]) - 1
    last = len(data["triggers"])
    assert [one["path"] for one in body["problems"]] == [
        f"definitions[{count}].steps[0].type",
        "templates[0].text",
        f"triggers[{last - 2}].definition",
        f"triggers[{last - 1}].trigger.where",
    ]
    assert yaml.safe_load(await export(second)) == {"sojourn": 1, "definitions": []}


async def test_drafts_stay_drafts_and_names_stand_once(elsewhere: MakeClient) -> None:
    client, _ = await elsewhere()
    one = {"name": "a", "published": False, "source": "name: a\nsteps: [{id: s, type: stop}]\n"}
    twice = await client.post("/api/v1/import", json={"sojourn": 1, "definitions": [one, one]})
    body = assert_problem(twice, 422, "INVALID_INPUT")
    assert {each["rule"] for each in body["problems"]} == {"duplicate-id"}
    other = {**one, "name": "b"}
    misnamed = await client.post("/api/v1/import", json={"sojourn": 1, "definitions": [other]})
    assert (
        assert_problem(misnamed, 422, "INVALID_INPUT")["problems"][0]["path"]
        == "definitions[0].name"
    )
    await load(client, yaml.safe_dump({"sojourn": 1, "definitions": [one]}))
    assert (await client.get("/api/v1/definitions/a")).json()["version"] is None
    assert yaml.safe_load(await export(client))["definitions"] == [one]


async def test_what_cannot_be_exported_or_read(api: AsyncClient) -> None:
    unknown = await api.get("/api/v1/export", params={"definitions": "there-is-none"})
    assert_problem(unknown, 404, "DEFINITION_NOT_FOUND")
    bad = await api.get("/api/v1/export", params={"definitions": "a,,b"})
    assert_problem(bad, 422, "INVALID_INPUT")
    for text in ("sojourn: 1\n", "sojourn: 1\ndefinitions: []\n", "name: a\n", "{{{"):
        answer = await api.post("/api/v1/import", content=text, headers=YAML)
        assert answer.status_code == 422, answer.text
    large = "#" * (4 * 1024 * 1024 + 1)
    answer = await api.post("/api/v1/import", content=large, headers=YAML)
    assert_problem(answer, 413, "LIMIT_EXCEEDED")
