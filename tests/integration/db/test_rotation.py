"""Rotation of the keys: everything opens with the new one alone, and stays what it was."""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import select

from db import connections, secrets
from db.audit import AuditEntry
from db.engine import Database
from db.rotation import rotate
from schemas.keyring import KEY_BYTES, KeyRing, SealError
from terminal import Exit
from tests.conftest import MakeDatabase

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES


@pytest.fixture
async def own(migrated_database: MakeDatabase) -> AsyncIterator[Database]:
    """A database of the test's own: rotation goes over all workspaces."""
    database = Database(await migrated_database())
    yield database
    await database.close()


async def fill(database: Database, keyring: KeyRing, count: int) -> None:
    async with database.session() as session:
        for number in range(count):
            space = "default" if number % 2 else "other"
            await secrets.put(session, space, f"S{number}", f"value-{number}", keyring)
        await connections.put(
            session,
            "default",
            "crm",
            kind="http",
            config={"base_url": "https://example.com"},
            secrets={"token": "value-of-crm"},
            keyring=keyring,
        )


async def read(database: Database, keyring: KeyRing) -> set[str]:
    found: set[str] = set()
    async with database.session() as session:
        for space in ("default", "other"):
            for row in await secrets.list_all(session, space):
                found.add(secrets.open_secret(row, keyring))
        row = await connections.get(session, "default", "crm")
        return found | set(connections.open_secrets(row, keyring).values())


async def test_after_a_rotation_the_old_key_can_go(own: Database) -> None:
    old, both, new = KeyRing({"k1": OLD}), KeyRing({"k2": NEW, "k1": OLD}), KeyRing({"k2": NEW})
    await fill(own, old, 25)
    values = {f"value-{number}" for number in range(25)} | {"value-of-crm"}
    with pytest.raises(SealError):
        await read(own, new)
    done = await rotate(own, both, workspace="default", batch=10)
    assert (done.connections, done.secrets) == (1, 25)
    assert await read(own, new) == values
    again = await rotate(own, new, workspace="default")
    assert (again.connections, again.secrets) == (0, 0)
    async with own.session() as session:
        entries = (await session.exec(select(AuditEntry))).all()
    assert {(one.action, one.subject) for one in entries} == {("secrets.rotate", "k2")}


async def test_a_rotation_without_the_old_key_stops_and_changes_nothing(own: Database) -> None:
    old, new = KeyRing({"k1": OLD}), KeyRing({"k2": NEW})
    await fill(own, old, 3)
    with pytest.raises(SealError, match="'k1'"):
        await rotate(own, new, workspace="default")
    assert len(await read(own, old)) == 4


async def test_rows_put_meanwhile_are_not_lost(own: Database) -> None:
    old, both = KeyRing({"k1": OLD}), KeyRing({"k2": NEW, "k1": OLD})
    await fill(own, old, 30)

    async def put_again() -> None:
        for number in range(30):
            async with own.session() as session:
                await secrets.put(session, "default", f"S{number}", f"later-{number}", old)

    await asyncio.gather(rotate(own, both, workspace="default", batch=5), put_again())
    await rotate(own, both, workspace="default")
    found = await read(own, KeyRing({"k2": NEW}))
    assert {f"later-{number}" for number in range(30)} <= found


async def test_the_command_says_how_many(own: Database, repository: Path) -> None:
    await fill(own, KeyRing({"k1": OLD}), 2)
    ring = ",".join(
        f"{name}:{base64.b64encode(key).decode()}" for name, key in (("k2", NEW), ("k1", OLD))
    )

    async def run(keys: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", "secrets", "rotate"),
            cwd=repository,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(repository),
                "DATABASE_URL": own.url,
                "SOJOURN_SECRET_KEYS": keys,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    code, told = await run(ring.split(",")[0])
    assert (code, "'k1'" in told, "hint:" in told) == (Exit.CONFLICT, True, True)
    assert await run(ring) == (
        0,
        "sealed 1 connections and 2 secrets anew with the key 'k2'\n",
    )
    code, told = await run("")
    assert (code, "SOJOURN_SECRET_KEYS is not set" in told) == (1, True)
