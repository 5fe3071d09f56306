"""Seals over the audit: what was changed, taken out or put in later shows; retention does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest
from sqlmodel import select

from db import audit, audit_seals, retention
from db.audit import AuditEntry
from db.base import now
from db.engine import Database
from db.tenancy import SERVICE_ROLE, scope

MakeDatabase = Callable[[], Awaitable[str]]


@pytest.fixture
async def url(migrated_database: MakeDatabase) -> str:
    """A database of the test's own."""
    return await migrated_database()


@pytest.fixture
async def service(url: str) -> AsyncIterator[Database]:
    """It, as the service has it."""
    database = Database(url, role=SERVICE_ROLE, scope=None)
    yield database
    await database.close()


async def add(database: Database, workspace: str, count: int = 1) -> None:
    """Add entries."""
    with scope(workspace):
        async with database.session() as session:
            for number in range(count):
                audit.add(
                    session,
                    workspace,
                    actor="key:ada",
                    action="test",
                    subject=str(number),
                    data={"b": 1, "a": [0.1, None, "ü"]},
                )
                await session.flush()


async def owner(url: str, statement: str, *given: object) -> str:
    """Do something that only the tables' owner can."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.execute(statement, *given)
    finally:
        await connection.close()


async def test_seals_follow_each_other_and_hold(service: Database) -> None:
    assert await audit_seals.seal(service) == []
    await add(service, "ours", 5)
    await add(service, "theirs", 2)
    made = await audit_seals.seal(service)
    assert [(each.workspace, each.number, each.entries) for each in made] == [
        ("ours", 1, 5),
        ("theirs", 1, 2),
    ]
    await add(service, "ours", 3)
    (second,) = await audit_seals.seal(service)
    assert (second.number, second.previous) == (2, made[0].digest)
    await add(service, "ours")
    found = await audit_seals.verify(service, "ours", head=made[0].digest)
    assert (found.seals, found.entries, found.unsealed, found.faults) == (2, 8, 1, [])
    assert found.head == second.digest
    assert found.known
    assert await audit_seals.workspaces(service) == ["ours", "theirs"]
    assert (await audit_seals.verify(service, "theirs", head="?")).known is False


async def test_small_batches_and_several_sealers(service: Database) -> None:
    await add(service, "ours", 25)
    for _ in range(6):
        await asyncio.gather(*(audit_seals.seal(service, batch=10) for _ in range(3)))
    found = await audit_seals.verify(service, "ours")
    assert (found.seals, found.entries, found.unsealed, found.faults) == (3, 25, 0, [])


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("UPDATE audit_entries SET actor = 'key:eve' WHERE seq = 3", "seal 1"),
        ("UPDATE audit_entries SET data = '{}' WHERE seq = 6", "seal 2"),
        ("DELETE FROM audit_entries WHERE seq = 7", "seal 2"),
        ("UPDATE audit_entries SET seq = 100 WHERE seq = 2", "seal 1"),
        ("UPDATE audit_entries SET workspace = 'theirs' WHERE seq = 2", "seal 1"),
        (
            "INSERT INTO audit_entries (id, workspace, actor, action, subject, created_at, seq)"
            " VALUES ('forged', 'ours', 'a', 'b', 'c', now(), 4)",
            "seal 1",
        ),
        (
            "INSERT INTO audit_entries (id, workspace, actor, action, subject, created_at, seq)"
            " VALUES ('forged', 'ours', 'a', 'b', 'c', now(), NULL)",
            "seal 1",
        ),
        ("DELETE FROM audit_seals WHERE number = 1", "seal 2 does not follow"),
        ("UPDATE audit_seals SET last_seq = 6 WHERE number = 1", "seal 2 does not follow"),
        ("UPDATE audit_seals SET digest = repeat('0', 64) WHERE number = 1", "seal 1"),
    ],
)
async def test_what_was_done_to_the_record_shows(
    url: str, service: Database, attack: str, told: str
) -> None:
    for _ in range(2):
        await add(service, "ours", 5)
        await audit_seals.seal(service)
    assert (await audit_seals.verify(service, "ours")).faults == []
    assert (await owner(url, attack))[-1] != "0"
    faults = (await audit_seals.verify(service, "ours")).faults
    assert any(told in fault for fault in faults), faults


async def test_a_range_is_sealed_when_nobody_can_add_to_it(service: Database) -> None:
    """An entry that was numbered before, and is committed after, another one."""
    with scope("ours"):
        async with service.session() as slow:
            audit.add(slow, "ours", actor="a", action="slow", subject="")
            await slow.flush()
            await add(service, "ours", 3)
            sealing = asyncio.create_task(audit_seals.seal(service))
            done, _ = await asyncio.wait({sealing}, timeout=0.5)
            assert not done
    (made,) = await sealing
    assert made.entries == 4
    assert (await audit_seals.verify(service, "ours")).faults == []


async def test_retention_takes_old_entries_and_the_rest_still_verifies(
    url: str, service: Database
) -> None:
    await add(service, "ours", 4)
    await add(service, "theirs", 1)
    await audit_seals.seal(service)
    await add(service, "ours", 2)
    await audit_seals.seal(service)
    await owner(
        url, "UPDATE audit_entries SET created_at = $1 WHERE seq <= 5", now() - timedelta(days=400)
    )
    with scope("ours"):
        done = await retention.prune(service, "ours", seconds=30)
    assert done.rows["audit"] == 4
    found = await audit_seals.verify(service, "ours")
    assert (found.seals, found.pruned, found.entries, found.faults) == (2, 1, 2, [])
    with scope("theirs"):
        async with service.session() as session:
            assert len((await session.exec(select(AuditEntry))).all()) == 1


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert audit.hash_of({"a": 1, "b": [2]}) == audit.hash_of({"b": [2], "a": 1})
    assert audit.hash_of({"a": 1}) != audit.hash_of({"a": 2})
