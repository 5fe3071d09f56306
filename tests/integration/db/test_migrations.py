"""Migrations: from nothing, by several at once, beside a lock, and from a newer program."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from db import definitions
from db.engine import Database
from db.migrate import check_revision, current, head, upgrade
from schemas.errors import ConflictError, UnavailableError

MakeDatabase = Callable[[], Awaitable[str]]


async def test_five_migrators_at_once_on_an_empty_database(empty_database: MakeDatabase) -> None:
    url = await empty_database()
    assert await asyncio.gather(*(upgrade(url) for _ in range(5))) == [head()] * 5
    database = Database(url)
    try:
        await check_revision(database)
        async with database.session() as session:
            assert (await definitions.list_page(session, "default")).items == []
    finally:
        await database.close()


async def test_the_tables_of_the_program_are_those_of_the_migrations(
    empty_database: MakeDatabase, repository: Path
) -> None:
    environment = {**os.environ, "DATABASE_URL": await empty_database()}
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"], ["upgrade", "head"]):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "alembic", *arguments],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


async def test_an_unmigrated_database_is_refused(empty_database: MakeDatabase) -> None:
    database = Database(await empty_database())
    try:
        assert await current(database) is None
        with pytest.raises(ConflictError, match="none") as refused:
            await check_revision(database)
        assert refused.value.hint == "run `sojourn migrate`"
    finally:
        await database.close()


async def test_a_newer_schema_is_refused(migrated_database: MakeDatabase) -> None:
    url = await migrated_database()
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    database = Database(url)
    try:
        with pytest.raises(ConflictError, match="9999"):
            await check_revision(database)
        with pytest.raises(ConflictError, match="9999"):
            await upgrade(url)
    finally:
        await database.close()


async def test_a_migration_waits_briefly_for_a_lock_and_tries_again(
    migrated_database: MakeDatabase,
) -> None:
    url = await migrated_database()
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM alembic_version")
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    names = ", ".join(row["tablename"] for row in tables)
    await connection.execute(f"DROP TABLE {names}")
    await connection.execute(
        "DROP FUNCTION sojourn_keep_version, sojourn_keep_final_status, sojourn_prune_audit"
    )
    blocker = connection.transaction()
    await blocker.start()
    await connection.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
    migrating = asyncio.create_task(upgrade(url))
    watcher = await asyncpg.connect(url)
    async with asyncio.timeout(180):
        # The second wait for the lock is that of the second attempt.
        waits: set[object] = set()
        while len(waits) < 2:
            waits.update(
                row["query_start"]
                for row in await watcher.fetch(
                    "SELECT query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database()"
                )
            )
            await asyncio.sleep(0.05)
        await blocker.rollback()
        assert await migrating == head()
    await watcher.close()
    await connection.close()


async def test_a_database_that_is_away_is_said_to_be(unused_tcp_port: int) -> None:
    with pytest.raises(UnavailableError):
        await upgrade(f"postgresql://u:p@127.0.0.1:{unused_tcp_port}/d")
