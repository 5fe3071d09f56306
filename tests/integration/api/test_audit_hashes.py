"""Hashes of audit entries: each change goes on from where the one before it ended."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import select

from db import audit, audit_hashes, connections
from db.engine import Database
from db.metadata import metadata
from db.secrets import Secret
from db.templates import Template
from tests.integration.api.conftest import YAML, Publish, a_name

FLOW = "name: {name}\ntitle: {title}\nsteps:\n  - {{id: think, type: delay, for: 3d}}\n"
Scenario = Callable[[AsyncClient, Publish], Awaitable[tuple[list[str], list[str]]]]
# Of no row: what a value could be guessed from, and what changes by itself.
NEVER = {"sealed", "secret_hash", "token_hash", "key_id", "last_used_at", "last_fired_at"}


async def done(answer: Awaitable[Response]) -> Any:
    found = await answer
    assert found.is_success, found.text
    return found.json() if found.content else None


async def chain(api: AsyncClient, target: str) -> list[dict[str, Any]]:
    """Give the entries about a target that have hashes, the first one first, as one chain."""
    page = await done(api.get("/api/v1/audit", params={"target": target, "limit": 100}))
    entries = [
        entry for entry in reversed(page["items"]) if entry["before_hash"] or entry["after_hash"]
    ]
    for earlier, later in pairwise(entries):
        assert earlier["after_hash"] == later["before_hash"], (earlier, later)
    return entries


async def definition(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = a_name()
    text = FLOW.format(name=name, title="one")
    await done(api.post("/api/v1/definitions", content=text, headers=YAML))
    here = f"/api/v1/definitions/{name}"
    await done(api.post(f"{here}/versions/1/publish"))
    text = FLOW.format(name=name, title="two")
    await done(api.post(f"{here}/versions?publish=true", content=text, headers=YAML))
    await done(api.post(f"{here}/versions/1/publish"))
    await done(api.post(f"{here}/versions/1/deprecate"))
    await done(api.delete(here))
    return [name], [
        "definition.create",
        *["definition.update"] * 4,
        "delete_definition",
    ]


async def version(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = await publish(FLOW.replace("{title}", "one"), published=False)
    here = f"/api/v1/definitions/{name}/versions/1"
    await done(api.post(f"{here}/publish"))
    await done(api.post(f"{here}/deprecate"))
    return [f"{name}/1"], ["version.create", "version.publish", "deprecate_version"]


async def webhook(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = await publish()
    body = {"kind": "webhook", "verify": {"scheme": "none"}, "input": {"n": 1}}
    here = f"/api/v1/definitions/{name}/triggers"
    trigger = (await done(api.post(here, json=body)))["id"]
    await done(api.put(f"{here}/{trigger}", json={**body, "enabled": False}))
    for deed in ("enable", "disable", "rotate"):
        await done(api.post(f"{here}/{trigger}/{deed}"))
    await done(api.delete(f"{here}/{trigger}"))
    return [f"{name}/{trigger}"], [
        *("create_trigger", "replace_trigger", "enable_trigger", "disable_trigger"),
        *("rotate_token", "delete_trigger"),
    ]


async def schedule(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = await publish()
    here = f"/api/v1/definitions/{name}/triggers"
    body = {"kind": "schedule", "every": "1d", "input": {"n": 1}}
    trigger = (await done(api.post(here, json=body)))["id"]
    await done(api.post(f"{here}/{trigger}/pause"))
    await done(api.post(f"{here}/{trigger}/resume"))
    return [f"{name}/{trigger}"], ["create_trigger", "pause_schedule", "resume_schedule"]


async def connection(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = a_name("mail")
    here = f"/api/v1/connections/{name}"
    # Nobody listens there.
    config = {"host": "127.0.0.1", "port": 1, "username": "me", "tls": "none"}
    for port, password in ((1025, "canary-1"), (1026, "canary-1"), (1026, "canary-2")):
        config["port"] = port
        body = {"kind": "smtp", "config": config, "secrets": {"password": password}}
        await done(api.put(here, json=body))
        # It is no change of the connection.
        await done(api.post(f"{here}/test"))
    await done(api.delete(here))
    return [name], [*["connection.put"] * 3, "connection.delete"]


async def test_a_receiver_that_wants_no_more_changes_its_connection(
    api: AsyncClient, database: Database
) -> None:
    name = a_name("hook")
    body = {"kind": "webhook", "config": {}, "secrets": {"secret": "canary-1"}}
    await done(api.put(f"/api/v1/connections/{name}", json=body))
    for _ in range(2):
        async with database.session() as session:
            seen = (await connections.get(session, "default", name)).updated_at
            await connections.disable(
                session, "default", name, seen=seen, reason="410", actor="run:1"
            )
    await done(api.post(f"/api/v1/connections/{name}/enable"))
    entries = await chain(api, name)
    assert [entry["action"].partition(".")[2] for entry in entries] == ["put", "disable", "enable"]
    assert entries[0]["after_hash"] == entries[2]["after_hash"] != entries[1]["after_hash"]


async def secret(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = a_name("s").replace("-", "_").upper()
    for value in ("canary-1", "canary-2"):
        await done(api.put(f"/api/v1/secrets/{name}", json={"value": value}))
    await done(api.delete(f"/api/v1/secrets/{name}"))
    return [name], ["secret.put", "secret.put", "secret.delete"]


async def template(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = a_name("mail")
    here = f"/api/v1/templates/{name}"
    for text in ("one", "two"):
        await done(api.put(here, json={"subject": "Hello", "text": text}))
    await done(api.post(f"{here}/versions/1/restore"))
    await done(api.delete(here))
    return [name], ["put_template", "put_template", "restore_template_version", "delete_template"]


async def form(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name, flow = a_name("form"), await publish()
    for title in ("one", "two"):
        fields = {"type": "object", "properties": {}}
        body = {"definition": flow, "title": title, "fields": fields}
        await done(api.put(f"/api/v1/forms/{name}", json=body))
    await done(api.delete(f"/api/v1/forms/{name}"))
    return [name], ["put_form", "put_form", "delete_form"]


async def member(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = a_name("user")
    for role in ("viewer", "admin"):
        await done(api.put(f"/api/v1/members/{name}", json={"role": role}))
    await done(api.delete(f"/api/v1/members/{name}"))
    return [name], ["member.put", "member.put", "member.delete"]


async def api_key(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    body = {"name": "test", "expires_at": "2099-01-01T00:00:00+02:00"}
    made = await done(api.post("/api/v1/api-keys", json=body))
    key = made["id"]
    # A key that is used is the same key.
    await done(api.get("/api/v1/me", headers={"Authorization": f"Bearer {made['key']}"}))
    new = (await done(api.post(f"/api/v1/api-keys/{key}/rotate", json={})))["id"]
    await done(api.delete(f"/api/v1/api-keys/{key}"))
    await done(api.delete(f"/api/v1/api-keys/{new}"))
    assert [entry["action"] for entry in await chain(api, new)] == [
        "api_key.create",
        "api_key.revoke",
    ]
    return [key], ["api_key.create", "api_key.rotate", "api_key.revoke"]


async def inbox(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = a_name("in")
    here = f"/api/v1/mail/inboxes/{name}"
    await done(api.put(here, json={"kind": "webhook"}))
    await done(api.put(here, json={"kind": "webhook", "enabled": False}))
    await done(api.post(f"{here}/rotate"))
    await done(api.delete(here))
    return [name], ["put_inbox", "put_inbox", "rotate_inbox_token", "delete_inbox"]


async def workspace_row(api: AsyncClient, publish: Publish) -> tuple[list[str], list[str]]:
    name = a_name("ws")
    await done(api.post("/api/v1/workspaces", json={"name": name}))
    key = await done(
        api.post("/api/v1/api-keys", json={"name": "t", "role": "admin", "workspace": name})
    )
    await done(api.patch(f"/api/v1/workspaces/{name}", json={"title": "Theirs"}))
    api.headers["Authorization"] = f"Bearer {key['key']}"
    return [name], ["workspace.create", "workspace.update"]


ENDING = ("definition", "webhook", "connection", "secret", "template", "form", "member", "inbox")
SCENARIOS: dict[str, Scenario] = {
    "definition": definition,
    "version": version,
    "webhook": webhook,
    "schedule": schedule,
    "connection": connection,
    "secret": secret,
    "template": template,
    "form": form,
    "member": member,
    "api_key": api_key,
    "inbox": inbox,
    "workspace": workspace_row,
}


@pytest.mark.parametrize("kind", SCENARIOS)
async def test_each_change_goes_on_from_the_one_before(
    api: AsyncClient, publish: Publish, kind: str
) -> None:
    targets, actions = await SCENARIOS[kind](api, publish)
    for target in targets:
        entries = await chain(api, target)
        assert [entry["action"] for entry in entries] == actions
        assert entries[0]["before_hash"] is None
        assert (entries[-1]["after_hash"] is None) == (kind in ENDING)
        for entry in entries:
            assert entry["before_hash"] != entry["after_hash"], entry


async def test_budgets_and_retention(api: AsyncClient) -> None:
    made = await done(api.post("/api/v1/workspaces", json={"name": a_name("ws")}))
    body = {"name": "t", "role": "admin", "workspace": made["name"]}
    key = await done(api.post("/api/v1/api-keys", json=body))
    api.headers["Authorization"] = f"Bearer {key['key']}"
    for usd in (1, 2.5):
        await done(api.put("/api/v1/ai/budget", json={"daily_usd": usd}))
    await done(api.delete("/api/v1/ai/budget"))
    subject = (await done(api.get("/api/v1/retention")))["items"][0]["subject"]
    for days in (100, None, 200):
        await done(api.put("/api/v1/retention", json={"policies": {subject: days}}))
    page = await done(api.get("/api/v1/audit", params={"target": made["name"], "limit": 100}))
    for prefix, count in (("ai_budget.", 3), ("retention.", 3)):
        entries = [each for each in reversed(page["items"]) if each["action"].startswith(prefix)]
        assert len(entries) == count
        assert entries[0]["before_hash"] is None
        for earlier, later in pairwise(entries):
            assert earlier["after_hash"] == later["before_hash"]
            assert earlier["before_hash"] != earlier["after_hash"]


async def test_an_import_writes_what_it_changed(api: AsyncClient, publish: Publish) -> None:
    name, mail = await publish(), a_name("mail")
    await done(api.put(f"/api/v1/templates/{mail}", json={"subject": "Hello", "text": "one"}))
    source = FLOW.format(name=name, title="imported")
    bundle = {
        "sojourn": 1,
        "definitions": [{"name": name, "published": True, "source": source}],
        "templates": [{"name": mail, "subject": "Hello", "text": "two"}],
    }
    sent = json.dumps(bundle)
    headers = {"Content-Type": "application/json"}
    answer = await done(api.post("/api/v1/import?mode=update", content=sent, headers=headers))
    assert [item["action"] for item in answer["items"]] == ["update", "update"]
    await done(api.put(f"/api/v1/templates/{mail}", json={"subject": "Hello", "text": "three"}))
    await done(api.post(f"/api/v1/definitions/{name}/versions/1/publish"))
    assert len(await chain(api, mail)) == 3
    assert [entry["action"] for entry in await chain(api, name)] == [
        *("definition.create", "definition.update", "definition.update"),
    ]
    assert len(await chain(api, f"{name}/2")) == 1


async def test_changes_at_once_make_one_chain(api: AsyncClient) -> None:
    name = a_name("mail")
    bodies = [{"subject": "Hello", "text": f"text {number}"} for number in range(4)]
    await asyncio.gather(
        *(done(api.put(f"/api/v1/templates/{name}", json=body)) for body in bodies)
    )
    page = await done(api.get("/api/v1/audit", params={"target": name, "limit": 100}))
    befores = [entry["before_hash"] for entry in page["items"]]
    afters = [entry["after_hash"] for entry in page["items"]]
    assert len(befores) == len(bodies)
    assert befores.count(None) == 1
    assert len(set(afters)) == len(bodies)
    # Each but the last is where another begins.
    assert len(set(afters) - set(befores)) == 1


async def test_the_hash_is_of_what_is_stored_and_of_no_value(
    api: AsyncClient, database: Database
) -> None:
    names = (a_name("s").replace("-", "_").upper(), a_name("mail"))
    await done(api.put(f"/api/v1/secrets/{names[0]}", json={"value": "correct horse"}))
    await done(api.put(f"/api/v1/templates/{names[1]}", json={"subject": "a", "text": "b"}))
    async with database.session() as session:
        for table, name in zip((Secret, Template), names, strict=True):
            row = (await session.exec(select(table).where(table.name == name))).one()
            (entry,) = await chain(api, name)
            assert entry["after_hash"] == audit.hash_of(audit_hashes.counted(row))
    assert set(audit_hashes.counted(Secret(workspace="w", name="n", sealed=b"x", key_id="k"))) == {
        *("name", "created_at", "updated_at"),
    }


def test_what_counts_is_there_and_is_no_secret() -> None:
    for table, columns in audit_hashes.COUNTED.items():
        there = set(metadata.tables[table].columns.keys())
        assert set(columns) <= there, table
        assert not set(columns) & NEVER, table


async def test_control_what_changes_by_itself_breaks_the_chain(
    api: AsyncClient, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {**audit_hashes.COUNTED, "connections": ("name", "config", "test_ok", "tested_at")}
    monkeypatch.setattr(audit_hashes, "COUNTED", counted)
    targets, _ = await connection(api, publish)
    with pytest.raises(AssertionError, match=r"connection\.put"):
        await chain(api, targets[0])
