"""The pool: what callers see when PostgreSQL is away, hangs, or comes back."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlmodel import select

from db import definitions
from db.engine import Database
from db.migrate import upgrade
from db.url import normalise_url
from dev.postgres import EmbeddedPostgres
from schemas.errors import ErrorCode, InputError, UnavailableError

MakeDatabase = Callable[[], Awaitable[str]]


async def refused_within(database: Database, seconds: float) -> None:
    """Check that a query is refused with our error, in time."""
    began = time.monotonic()
    with pytest.raises(UnavailableError) as refused:
        async with database.session() as session:
            await definitions.list_page(session, "default")
    assert time.monotonic() - began < seconds
    assert refused.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert refused.value.retry_after == 5


async def test_nothing_listens(unused_tcp_port: int) -> None:
    database = Database(f"postgresql://u:secret@127.0.0.1:{unused_tcp_port}/d")
    await refused_within(database, 8)
    with pytest.raises(UnavailableError) as refused:
        await database.ping()
    assert "secret" not in f"{refused.value} {refused.value.details}"
    await database.close()


async def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d")
        await refused_within(database, 8)
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            await database.ping(deadline=0.3)
        assert time.monotonic() - began < 5
        await database.close()


async def test_wrong_credentials_and_unknown_databases(postgres: EmbeddedPostgres) -> None:
    for url in (
        postgres.url().replace(postgres.password, "wrong"),
        postgres.url("no_such_database"),
    ):
        database = Database(url)
        await refused_within(database, 8)
        await database.close()


async def test_a_full_pool_is_unavailable_not_a_hang(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    try:
        async with database.session() as session:
            await definitions.list_page(session, "default")
            await refused_within(database, 8)
        await database.ping()
    finally:
        await database.close()


async def test_a_server_that_stops_and_comes_back(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=False)
    await asyncio.to_thread(server.start)
    database = Database(server.url())

    async def stopped_within() -> None:
        async with database.session() as session:
            await definitions.list_page(session, "default")
            await asyncio.to_thread(server.stop)
            await definitions.list_page(session, "default")

    try:
        await upgrade(server.url())
        with pytest.raises(UnavailableError):
            await stopped_within()
        await refused_within(database, 8)
        await asyncio.to_thread(server.start)
        await database.ping(deadline=5)
    finally:
        await database.close()
        await asyncio.to_thread(server.stop)


async def test_a_connection_that_dies_before_the_commit(database_url: str) -> None:
    database = Database(database_url)
    killer = await asyncpg.connect(database_url)

    async def die() -> None:
        async with database.session() as session:
            await definitions.create(session, "dying", "demo", {}, "")
            pid = (await session.exec(select(sa.func.pg_backend_pid()))).one()
            await killer.execute("SELECT pg_terminate_backend($1, 5000)", pid)

    try:
        with pytest.raises(UnavailableError):
            await die()
        async with database.session() as session:
            assert (await definitions.list_page(session, "dying")).items == []
    finally:
        await killer.close()
        await database.close()


async def test_a_cancelled_query_gives_its_connection_back(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), database.session() as session:
                await (await session.connection()).execute(sa.text("SELECT pg_sleep(5)"))
        await database.ping()
    finally:
        await database.close()


async def test_errors_of_the_caller_are_not_the_databases(database: Database) -> None:
    async def fail(error: Exception) -> None:
        async with database.session() as session:
            await definitions.list_page(session, "default")
            raise error

    for error in (ConnectionError("elsewhere"), TimeoutError("elsewhere"), KeyError("k")):
        with pytest.raises(type(error)):
            await fail(error)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p%40@h:5433/d", "postgresql+asyncpg://u:p%40@h:5433/d"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql://u@/d?host=/run/pg", "postgresql+asyncpg://u@/d?host=%2Frun%2Fpg"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
    ],
)
def test_urls(given: str, made: str) -> None:
    assert normalise_url(given) == made
    assert normalise_url(made) == made


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "nonsense",
        "mysql://u:secret@h/d",
        "postgresql://u:secret@h",
        "postgres://h:x/d",
        "postgresql://u:secret@h/d?channel_binding=require",
    ],
)
def test_bad_urls(bad: str) -> None:
    with pytest.raises(InputError) as refused:
        normalise_url(bad)
    assert "secret" not in f"{refused.value}{refused.value.hint}"
