"""The authorisation matrix: every operation, asked by seven identities, against docs/identity.md.

The table there is the specification: `python -m dev.permissions` writes it for people to review,
and a role that was changed by mistake is a difference to it.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from api import authorization
from api.app import create_app
from api.config import ApiConfig
from api.permissions import PERMISSIONS, RESOURCES
from db import api_keys
from db.base import now
from db.engine import Database
from dev.permissions import BEGIN, END, table
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from schemas.roles import Role
from tests.faults.evidence import figures
from tests.integration.api.conftest import API_KEY
from workflows.gateway import Gateway

ROW = re.compile(r"\| `(\w+)` \| `([A-Z]+) (\S+)` \| ([^|]+) \| ([^|]*) \|")
IDENTITIES = ("none", "expired", "foreign", "viewer", "operator", "editor", "admin")
UUID = "00000000-0000-7000-8000-000000000000"
# Values that the patterns of path parameters take, and that name nothing.
GIVEN = {
    "version": "1",
    "name": "nothing",
    "key_id": "000000000000",
    "path": "step",
    "address": "nobody@example.com",
    "subject": "nobody",
}


@dataclass(frozen=True)
class Row:
    """One operation, as the document's table says it."""

    operation: str
    method: str
    path: str
    role: str

    def allows(self, identity: str) -> bool:
        """Whether the table lets an identity in."""
        if self.role == "public":
            return True
        if identity in ("none", "expired") or self.role == "installation":
            return False
        least, _, home = self.role.partition(", ")
        if identity == "foreign":
            return not home or home == f"{Role.ADMIN.value} in other workspaces"
        return Role(identity).at_least(Role(least))


def rows_of(text: str) -> list[Row]:
    """Read the table of a document."""
    between = text.partition(BEGIN)[2].partition(END)[0]
    return [Row(*found[:4]) for found in ROW.findall(between)]


@pytest.fixture
def rows(repository: Path) -> list[Row]:
    """The specification."""
    return rows_of((repository / "docs" / "identity.md").read_text())


@dataclass
class House:
    """An API over a database of its own, and clients of seven identities and the bootstrap key."""

    app: FastAPI
    database: Database
    clients: dict[str, AsyncClient]

    async def ask(self, row: Row, identity: str, **given: str) -> int:
        """Ask for an operation; gives the status."""
        values = {**GIVEN, **given}
        address = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], UUID), row.path)
        body: dict[str, Any] = {} if row.method in ("GET", "HEAD") else {"json": {}}
        answer = await self.clients[identity].request(row.method, address, **body)
        # Nobody polls here, and nobody simulates.
        fine = answer.status_code < 500 or answer.status_code == 501 or row.operation == "readyz"
        assert fine, (row, identity, answer.text)
        return answer.status_code

    async def differences(self, rows: list[Row]) -> list[str]:
        """Ask for everything as everybody; name what is not as the table says."""
        found: list[str] = []
        for row in rows:
            for identity in IDENTITIES:
                status = await self.ask(row, identity)
                if row.role == "public" or row.allows(identity):
                    good = status not in (401, 403)
                else:
                    good = status == (401 if identity in ("none", "expired") else 403)
                if not good:
                    found.append(f"{row.operation} as {identity}: {status}, {row.role}")
        return found


@pytest.fixture(scope="session")
async def house(
    migrated_database: Callable[[], Awaitable[str]],
    gateway: Gateway,
    catalogue: Catalogue,
    keyring: KeyRing,
) -> AsyncIterator[House]:
    """The API with its identities."""
    database = Database(await migrated_database())
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, state_deadline=5),
        keyring=keyring,
    )
    clients = {"none": client_of(app, None), "bootstrap": client_of(app, API_KEY)}
    boss = clients["bootstrap"]
    assert (await boss.post("/api/v1/workspaces", json={"name": "theirs"})).status_code == 201
    wanted: dict[str, dict[str, str]] = {role.value: {"role": role.value} for role in Role}
    wanted["foreign"] = {"role": "admin", "workspace": "theirs"}
    for identity, body in wanted.items():
        answer = await boss.post("/api/v1/api-keys", json={"name": identity, **body})
        clients[identity] = client_of(app, answer.json()["key"])
    async with database.session() as session:
        _, text = api_keys.create(
            session,
            workspace="default",
            name="expired",
            role=Role.ADMIN,
            created_by="test",
            expires_at=now(),
        )
    clients["expired"] = client_of(app, text)
    yield House(app, database, clients)
    for client in clients.values():
        await client.aclose()
    await database.close()


def client_of(app: FastAPI, key: str | None) -> AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return AsyncClient(
        transport=ASGITransport(app=app), base_url="http://testserver", headers=headers
    )


async def test_every_cell_is_as_the_table_says(house: House, rows: list[Row]) -> None:
    assert len(rows) > 130
    different = await house.differences(rows)
    assert different == []
    for row in rows:
        if row.role == "installation":
            assert await house.ask(row, "bootstrap") != 403
    figures(
        "T18 authorization matrix",
        operations=len(rows),
        identities=len(IDENTITIES),
        cells=len(rows) * len(IDENTITIES),
        different=len(different),
    )


async def test_control_a_wrong_role_is_found(
    house: House, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"put_secret": Role.VIEWER, "list_runs": Role.ADMIN, "start_run": Role.EDITOR}
    some = [row for row in rows if row.operation in wrong]
    assert await house.differences(some) == []
    for operation, role in wrong.items():
        monkeypatch.setitem(PERMISSIONS, operation, role)
    authorization._rule.cache_clear()
    try:
        found = await house.differences(some)
    finally:
        authorization._rule.cache_clear()
    assert {line.partition(" ")[0] for line in found} == set(wrong)


async def test_every_operation_has_a_row(house: House, rows: list[Row]) -> None:
    said = {row.operation: row for row in rows}
    there = {row.operation: row for row in rows_of(BEGIN + table(house.app.openapi()) + END)}
    hint = "'python -m dev.permissions' writes the table anew"
    assert there == said, hint
    closed = {name for name, row in there.items() if row.role != "public"}
    assert closed == set(PERMISSIONS), "api/permissions.py has other operations than the API"


async def test_an_operation_without_a_row_is_closed(
    house: House, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(PERMISSIONS, "list_runs")
    authorization._rule.cache_clear()
    try:
        [row] = [row for row in rows if row.operation == "list_runs"]
        for identity in ("viewer", "admin", "bootstrap"):
            assert await house.ask(row, identity) == 403
    finally:
        authorization._rule.cache_clear()


async def test_refusals_are_documented_and_tags_are_scopes(house: House, rows: list[Row]) -> None:
    paths = house.app.openapi()["paths"]
    for row in rows:
        operation = paths[row.path][row.method.lower()]
        assert operation["tags"][0].replace(" ", "-") in RESOURCES, row
        if row.role != "public":
            assert {"401", "403", "429"} <= set(operation["responses"]), row


def tricks(path: str) -> Iterator[str]:
    """Ways of writing a path that routers, proxies and people take for one another."""
    first, _, last = path.rpartition("/")
    yield f"/{path}"
    yield f"{first}//{last}"
    yield f"{path}/"
    yield f"{path};a=b"
    yield f"{first}/;/{last}"
    yield f"{first}/./{last}"
    yield f"{first}/%2e/{last}"
    yield f"{first}/x/../{last}"
    yield f"{first}/x/%2e%2e/{last}"
    yield f"{first}/..;/{last}"
    yield f"{first}%2f{last}"
    yield f"{path}%00"
    yield f"{path}%20"
    yield f"{path}.json"
    yield f"{path}?"
    yield path.upper()
    yield f"/healthz/..{path}"
    yield f"/healthz%2f..{path}"
    yield f"/configs{path}"
    yield f"{path}/configs"


async def test_path_tricks_open_nothing(house: House, rows: list[Row]) -> None:
    closed = [row for row in rows if row.role != "public" and row.method == "GET"]
    tried = 0
    for row in closed:
        address = re.sub(r"\{(\w+)\}", lambda found: GIVEN.get(found[1], UUID), row.path)
        least = row.role.partition(",")[0]
        for trick in tricks(address):
            for identity in ("none", "viewer"):
                if identity == "viewer" and least == "viewer":
                    continue
                answer = await house.clients[identity].get(f"http://testserver{trick}")
                assert answer.status_code in (401, 403, 404, 405, 422), (trick, identity, answer)
                tried += 1
    for path in ("/configs", "/api/v1/configs", "/api", "/api/v1", "/debug", "/docs", "/redoc"):
        assert (await house.clients["none"].get(path)).status_code == 404, path
        tried += 1
    figures("T18 tricks with paths", requests=tried, let_in=0)


async def test_methods_and_headers_open_nothing(house: House, rows: list[Row]) -> None:
    headers = {
        "X-HTTP-Method-Override": "GET",
        "X-Original-URL": "/healthz",
        "X-Rewrite-URL": "/healthz",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Prefix": "/healthz",
        "X-Workspace": "default",
        "X-Sojourn-Workspace": "default",
    }
    for row in rows:
        if row.role == "public":
            continue
        address = re.sub(r"\{(\w+)\}", lambda found: GIVEN.get(found[1], UUID), row.path)
        for method in ("GET", "HEAD", "POST", "OPTIONS", "TRACE", "PROPFIND"):
            answer = await house.clients["none"].request(method, address, headers=headers)
            assert answer.status_code in (401, 404, 405, 422), (method, address, answer)
    mine = await house.clients["foreign"].get("/api/v1/me", headers=headers)
    assert mine.json()["workspace"] == "theirs"
