"""Connections and secrets over the API: they go in, and never come out."""

from uuid import uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import select

from api.app import create_app
from api.config import ApiConfig
from db import connections, secrets
from db.audit import AuditEntry
from db.connections import Connection
from db.engine import Database
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from tests.integration.api.conftest import API_KEY, assert_problem, client_of
from workflows.gateway import Gateway

CONNECTIONS = "/api/v1/connections"
SECRETS = "/api/v1/secrets"
HTTP = {"kind": "http", "config": {"base_url": "https://api.example.com", "auth": "bearer"}}


def some_name(prefix: str = "crm") -> str:
    return f"{prefix}-{uuid4().hex[:12]}"


def some_secret() -> str:
    return f"S{uuid4().hex[:12]}"


EVERY_KIND = [
    ("smtp", {"host": "mail.example.com", "username": "me"}, {"password": "canary-1234"}),
    (
        "gmail",
        {"user": "me@example.com", "client_id": "abc"},
        {"client_secret": "canary-1234", "refresh_token": "canary-5678"},
    ),
    ("imap", {"host": "mail.example.com", "username": "me"}, {"password": "canary-1234"}),
    ("http", {"base_url": "https://api.example.com", "auth": "bearer"}, {"token": "canary-1234"}),
    ("openai", {}, {"api_key": "canary-1234"}),
    ("anthropic", {}, {"api_key": "canary-1234"}),
    ("google", {}, {"api_key": "canary-1234"}),
    ("webhook", {}, {"secret": "canary-1234"}),
]


@pytest.mark.parametrize(("kind", "config", "values"), EVERY_KIND)
async def test_a_connection_is_stored_and_shown_without_its_secrets(
    api: AsyncClient, kind: str, config: dict[str, str], values: dict[str, str]
) -> None:
    name = some_name()
    body = {"kind": kind, "config": config, "secrets": values}
    put = await api.put(f"{CONNECTIONS}/{name}", json=body)
    assert put.status_code == 200, put.text
    got = await api.get(f"{CONNECTIONS}/{name}")
    listed = await api.get(CONNECTIONS, params={"kind": kind})
    assert got.json() == put.json()
    assert got.json()["secrets"] == sorted(values)
    assert config.items() <= got.json()["config"].items()
    assert got.json()["last_test"] is None
    assert name in {one["name"] for one in listed.json()["items"]}
    for answer in (put, got, listed):
        assert "canary" not in answer.text


async def test_each_put_replaces_the_config_and_keeps_secrets_that_are_not_given(
    api: AsyncClient, database: Database, keyring: KeyRing
) -> None:
    name = some_name()
    url = f"{CONNECTIONS}/{name}"
    await api.put(url, json={**HTTP, "secrets": {"token": "first-token"}})
    moved = {**HTTP, "config": {**HTTP["config"], "base_url": "https://two.example.com"}}
    answer = await api.put(url, json=moved)
    assert answer.status_code == 200, answer.text
    assert answer.json()["config"]["base_url"] == "https://two.example.com"
    async with database.session() as session:
        row = await connections.get(session, "default", name)
    assert connections.open_secrets(row, keyring) == {"token": "first-token"}
    await api.put(url, json={**HTTP, "secrets": {"token": "second-token"}})
    async with database.session() as session:
        row = await connections.get(session, "default", name)
    assert connections.open_secrets(row, keyring) == {"token": "second-token"}
    assert b"second-token" not in row.sealed
    assert "second-token" not in repr(row)


async def test_secrets_of_another_kind_are_not_kept(api: AsyncClient) -> None:
    name = some_name()
    await api.put(f"{CONNECTIONS}/{name}", json={**HTTP, "secrets": {"token": "first-token"}})
    answer = await api.put(f"{CONNECTIONS}/{name}", json={"kind": "openai"})
    body = assert_problem(answer, 422, "INVALID_INPUT")
    assert body["problems"][0]["path"] == "body.secrets.api_key"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "ftp", "config": {}},
        {"kind": "http", "config": {}},
        {"kind": "http", "config": {"base_url": "ftp://example.com"}},
        {"kind": "http", "config": {"base_url": "https://me:pass@example.com"}},
        {"kind": "http", "config": {"base_url": "https://example.com", "auth": "header"}},
        {
            "kind": "http",
            "config": {"base_url": "https://example.com", "auth": "header", "header": "Host"},
        },
        {**HTTP},
        {**HTTP, "secrets": {}},
        {**HTTP, "secrets": {"token": "abc"}},
        {**HTTP, "secrets": {"token": "one\r\ntwo: 2"}},
        {**HTTP, "secrets": {"tokken": "a-long-token"}},
        {"kind": "smtp", "config": {"host": "a b"}},
        {"kind": "smtp", "config": {"host": "mail.example.com", "username": "me"}},
        {"kind": "gmail", "config": {"user": "me@example.com"}},
    ],
)
async def test_what_cannot_work_is_refused(api: AsyncClient, body: dict[str, object]) -> None:
    answer = await api.put(f"{CONNECTIONS}/{some_name()}", json=body)
    assert_problem(answer, 422, "INVALID_INPUT")
    assert "a-long-token" not in answer.text


async def test_a_secret_is_written_listed_and_deleted_but_never_read(
    api: AsyncClient, database: Database, keyring: KeyRing
) -> None:
    name = some_secret()
    put = await api.put(f"{SECRETS}/{name}", json={"value": "canary-value"})
    assert put.status_code == 200
    listed = await api.get(SECRETS)
    assert name in {one["name"] for one in listed.json()["items"]}
    assert set(put.json()) == {"name", "created_at", "updated_at"}
    assert "canary" not in put.text + listed.text
    again = await api.put(f"{SECRETS}/{name}", json={"value": "other-value"})
    assert again.json()["created_at"] == put.json()["created_at"]
    async with database.session() as session:
        [row] = await secrets.find_all(session, "default", [name])
    assert secrets.open_secret(row, keyring) == "other-value"
    assert (await api.delete(f"{SECRETS}/{name}")).status_code == 204
    assert_problem(await api.delete(f"{SECRETS}/{name}"), 404, "NOT_FOUND")


async def test_a_disabled_connection_is_shown_and_enabled(
    api: AsyncClient, database: Database
) -> None:
    name = some_name("hook")
    body = {"kind": "webhook", "config": {"url": "https://a.example.com"}}
    await api.put(f"{CONNECTIONS}/{name}", json={**body, "secrets": {"secret": "canary-1"}})
    for again in ("enable", "put"):
        async with database.session() as session:
            row = await connections.get(session, "default", name)
            await connections.disable(
                session, "default", name, seen=row.updated_at, reason="gone", actor="run:r"
            )
        shown = (await api.get(f"{CONNECTIONS}/{name}")).json()["disabled"]
        assert (shown["reason"], bool(shown["at"])) == ("gone", True)
        if again == "enable":
            answer = await api.post(f"{CONNECTIONS}/{name}/enable")
        else:
            answer = await api.put(f"{CONNECTIONS}/{name}", json=body)
        assert (answer.status_code, answer.json()["disabled"]) == (200, None)
    # What is enabled stays so.
    assert (await api.post(f"{CONNECTIONS}/{name}/enable")).json()["disabled"] is None
    missing = await api.post(f"{CONNECTIONS}/{some_name()}/enable")
    assert_problem(missing, 404, "NOT_FOUND")
    async with database.session() as session:
        statement = select(AuditEntry).where(AuditEntry.subject == name)
        deeds = [row.action for row in (await session.exec(statement)).all()]
    assert sorted(deeds) == sorted(
        [f"connection.{deed}" for deed in ("put", "put", "disable", "disable", "enable", "enable")]
    )


async def test_every_change_is_audited_without_values(api: AsyncClient, database: Database) -> None:
    connection, secret = some_name(), some_secret()
    await api.put(f"{CONNECTIONS}/{connection}", json={**HTTP, "secrets": {"token": "canary-1"}})
    await api.delete(f"{CONNECTIONS}/{connection}")
    await api.put(f"{SECRETS}/{secret}", json={"value": "canary-2"})
    await api.delete(f"{SECRETS}/{secret}", params={"force": True})
    async with database.session() as session:
        statement = select(AuditEntry).where(AuditEntry.subject.in_([connection, secret]))  # pyright: ignore[reportAttributeAccessIssue]
        rows = (await session.exec(statement)).all()
    assert {row.action for row in rows} == {
        "connection.put",
        "connection.delete",
        "secret.put",
        "secret.delete",
    }
    assert "canary" not in str([row.model_dump() for row in rows])


async def publish_naming(api: AsyncClient, connection: str, secret: str) -> Response:
    """Publish a definition that names both, each in a step of its own."""
    text = (
        f"name: {some_name('flow')}\n"
        "steps:\n"
        f"  - {{id: a, type: http, with: {{connection: {connection}, url: /x}}}}\n"
        "  - id: b\n"
        "    type: http\n"
        "    with:\n"
        "      url: https://example.com\n"
        f"      body: 'key={{{{ secrets.{secret} }}}}'\n"
    )
    headers = {"content-type": "application/yaml"}
    answer = await api.post(
        "/api/v1/definitions", params={"publish": True}, content=text, headers=headers
    )
    assert answer.status_code == 201, answer.text
    return answer


async def test_what_a_published_definition_names_is_not_deleted(api: AsyncClient) -> None:
    connection, secret = some_name(), some_secret()
    name = (await publish_naming(api, connection, secret)).json()["name"]
    await api.put(f"{CONNECTIONS}/{connection}", json={**HTTP, "secrets": {"token": "canary-1"}})
    await api.put(f"{SECRETS}/{secret}", json={"value": "canary-2"})
    for url in (f"{CONNECTIONS}/{connection}", f"{SECRETS}/{secret}"):
        body = assert_problem(await api.delete(url), 409, "CONFLICT")
        assert f"{name} (version 1)" in body["detail"]
        assert (await api.delete(url, params={"force": True})).status_code == 204


async def test_publishing_warns_of_names_that_are_not_stored_yet(api: AsyncClient) -> None:
    connection, secret = some_name(), some_secret()
    answer = await publish_naming(api, connection, secret)
    found = {one["rule"]: one for one in answer.json()["warnings"]}
    assert set(found) == {"unknown-connection", "unknown-secret"}
    assert found["unknown-secret"]["path"] == "steps[1].with.body"
    assert found["unknown-secret"]["position"]["line"] == 8
    assert found["unknown-connection"]["severity"] == "warning"
    await api.put(f"{CONNECTIONS}/{connection}", json={**HTTP, "secrets": {"token": "canary-1"}})
    await api.put(f"{SECRETS}/{secret}", json={"value": "canary-2"})
    name = answer.json()["name"]
    again = await api.post(f"/api/v1/definitions/{name}/versions/1/publish")
    assert again.json()["warnings"] == []


async def test_without_keys_nothing_is_stored_and_the_rest_works(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY),
    )
    async with client_of(app) as client:
        put = await client.put(f"{SECRETS}/{some_secret()}", json={"value": "canary-1"})
        assert "SOJOURN_SECRET_KEYS" in assert_problem(put, 409, "CONFLICT")["hint"]
        assert (await client.get(CONNECTIONS)).status_code == 200


async def test_a_key_that_is_gone_is_named(
    api: AsyncClient, database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    name = some_name()
    await api.put(f"{CONNECTIONS}/{name}", json={**HTTP, "secrets": {"token": "canary-1"}})
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY),
        keyring=KeyRing({"other": b"o" * 32}),
    )
    async with client_of(app) as client:
        body = assert_problem(await client.put(f"{CONNECTIONS}/{name}", json=HTTP), 409, "CONFLICT")
        assert "'test'" in body["detail"]
        whole = {**HTTP, "secrets": {"token": "canary-2"}}
        assert (await client.put(f"{CONNECTIONS}/{name}", json=whole)).status_code == 200
    async with database.session() as session:
        row = await connections.get(session, "default", name)
    assert isinstance(row, Connection)
    assert row.key_id == "other"
    await api.delete(f"{CONNECTIONS}/{name}")
