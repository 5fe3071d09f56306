"""Who may migrate, and which schema a process takes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from db.engine import Database
from db.migrate import check_revision, head, upgrade
from db.tenancy import SERVICE_ROLE, scope
from dev.postgres import EmbeddedPostgres
from process import SchemaWatch
from schemas.errors import ConflictError

MakeDatabase = Callable[[], Awaitable[str]]
NEWER = "UPDATE alembic_version SET version_num = '9999'"


async def execute(url: str, *statements: str) -> None:
    """Do something as the server's administrator."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_process_begins_on_its_own_schema_alone(migrated_database: MakeDatabase) -> None:
    url = await migrated_database()
    database = Database(url, role=SERVICE_ROLE, scope=None)
    stop = asyncio.Event()
    try:
        watch = SchemaWatch(database, stop)
        await watch.begin()
        await watch.end()
        await execute(url, NEWER)
        with pytest.raises(ConflictError, match="9999"):
            await SchemaWatch(database, stop).begin()
        assert not stop.is_set()
    finally:
        await database.close()


async def test_a_schema_that_is_seen_later_stops_the_process(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=False)
    await asyncio.to_thread(server.start)
    await upgrade(server.url())
    await execute(server.url(), NEWER)
    await asyncio.to_thread(server.stop)
    database = Database(server.url(), role=SERVICE_ROLE, scope=None)
    stop = asyncio.Event()
    watch = SchemaWatch(database, stop)
    try:
        await watch.begin()
        assert not stop.is_set()
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(180):
            await stop.wait()
        with pytest.raises(ConflictError, match="9999"):
            await watch.end()
    finally:
        await database.close()
        await asyncio.to_thread(server.stop)


async def test_an_ordinary_user_migrates_once_an_administrator_has_let_it(
    postgres: EmbeddedPostgres, migrated_database: MakeDatabase
) -> None:
    await migrated_database()  # so that the cluster has the role
    await execute(
        postgres.url(),
        "CREATE USER migrator PASSWORD 'm'",
        "CREATE USER app PASSWORD 'a'",
        "CREATE DATABASE of_migrator OWNER migrator",
    )
    address = postgres.url("of_migrator").rpartition("@")[2]
    url = f"postgresql://migrator:m@{address}"
    with pytest.raises(ConflictError, match="may not take the role sojourn_service") as refused:
        await upgrade(url)
    assert refused.value.hint == "as an administrator: GRANT sojourn_service TO migrator"
    own = Database(f"postgresql://app:a@{address}", role=SERVICE_ROLE, scope=None)
    try:
        with pytest.raises(ConflictError, match="does not let this process be"):
            await own.ping()
        await execute(postgres.url(), "GRANT sojourn_service TO migrator, app")
        with pytest.raises(ConflictError, match="revision"):
            await check_revision(own)
        assert await upgrade(url) == head()
        await check_revision(own)
        with scope("ours"):
            await own.ping()
    finally:
        await own.close()
