"""Definitions: numbers, states, and that a published version never changes."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from db import definitions, runs
from db.definitions import VersionStatus
from db.engine import Database
from schemas.errors import ConflictError, ErrorCode, NotFoundError
from schemas.run import RunStatus

DOCUMENT = {"name": "demo", "steps": [{"z": 1, "a": 2}]}


async def create(database: Database, workspace: str, *, publish: bool = True) -> None:
    """Store the definition `demo`."""
    async with database.session() as session:
        await definitions.create(
            session, workspace, "demo", DOCUMENT, "name: demo", title="Demo", publish=publish
        )


async def test_a_definition_and_its_active_version(database: Database, workspace: str) -> None:
    await create(database, workspace)
    async with database.session() as session:
        definition = await definitions.get(session, workspace, "demo")
        version = await definitions.get_version(session, workspace, "demo")
    assert (definition.title, definition.active_version) == ("Demo", 1)
    assert (version.version, version.status, version.source) == (
        1,
        VersionStatus.PUBLISHED,
        "name: demo",
    )
    assert list(version.document["steps"][0]) == ["z", "a"], "the order of keys is kept"
    assert version.published_at is not None


async def test_a_taken_name_conflicts_also_in_a_race(database: Database, workspace: str) -> None:
    results = await asyncio.gather(
        *(create(database, workspace) for _ in range(8)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 7
    await create(database, f"{workspace}-other")


async def test_versions_added_at_once_get_numbers_of_their_own(
    database: Database, workspace: str
) -> None:
    await create(database, workspace)

    async def add() -> int:
        async with database.session() as session:
            row = await definitions.add_version(
                session, workspace, "demo", DOCUMENT, "text", publish=True
            )
        return row.version

    assert sorted(await asyncio.gather(*(add() for _ in range(10)))) == list(range(2, 12))
    async with database.session() as session:
        found = await definitions.versions(session, workspace, "demo")
        summaries = await definitions.version_summaries(session, workspace, "demo")
        active = await definitions.get_version(session, workspace, "demo")
    assert [row.version for row in found] == list(range(11, 0, -1))
    assert [row.version for row in summaries] == list(range(11, 0, -1))
    assert active.version == 11


async def test_states_of_versions(database: Database, workspace: str) -> None:
    await create(database, workspace, publish=False)
    async with database.session() as session:
        with pytest.raises(NotFoundError, match="no published version") as none:
            await definitions.get_version(session, workspace, "demo")
        assert none.value.code == ErrorCode.DEFINITION_NOT_FOUND
        with pytest.raises(ConflictError, match="draft"):
            await definitions.deprecate(session, workspace, "demo", 1)
        await definitions.publish(session, workspace, "demo", 1)
        await definitions.add_version(session, workspace, "demo", DOCUMENT, "t", publish=True)
        await definitions.add_version(session, workspace, "demo", DOCUMENT, "t")
        assert (await definitions.get_version(session, workspace, "demo")).version == 2
        assert (await definitions.get_version(session, workspace, "demo", 3)).status == "draft"

        await definitions.publish(session, workspace, "demo", 1)
        assert (await definitions.get_version(session, workspace, "demo")).version == 1
        await definitions.deprecate(session, workspace, "demo", 1)
        await definitions.deprecate(session, workspace, "demo", 1)
        assert (await definitions.get_version(session, workspace, "demo")).version == 2
        with pytest.raises(ConflictError) as deprecated:
            await definitions.publish(session, workspace, "demo", 1)
        assert deprecated.value.code == ErrorCode.VERSION_CONFLICT
        await definitions.deprecate(session, workspace, "demo", 2)
        assert (await definitions.get(session, workspace, "demo")).active_version is None


async def test_unknown_names_and_versions(database: Database, workspace: str) -> None:
    await create(database, workspace)
    async with database.session() as session:
        for call in (
            definitions.get(session, workspace, "none"),
            definitions.get(session, "elsewhere", "demo"),
            definitions.get_version(session, workspace, "none"),
            definitions.get_version(session, workspace, "demo", 2),
            definitions.versions(session, workspace, "none"),
            definitions.publish(session, workspace, "demo", 2),
            definitions.add_version(session, workspace, "none", DOCUMENT, ""),
            definitions.delete(session, workspace, "none"),
        ):
            with pytest.raises(NotFoundError) as missing:
                await call
            assert missing.value.code == ErrorCode.DEFINITION_NOT_FOUND


@pytest.mark.parametrize(
    "change",
    [
        "document = '{}'",
        "source = 'x'",
        "content_hash = 'x'",
        "status = 'draft'",
        "published_at = now()",
    ],
)
async def test_a_published_version_never_changes(
    database: Database, workspace: str, change: str
) -> None:
    await create(database, workspace)
    statement = f"UPDATE definition_versions SET {change} WHERE workspace = :workspace"
    async with database.engine.begin() as connection:
        with pytest.raises(IntegrityError, match="cannot be changed"):
            await connection.execute(sa.text(statement), {"workspace": workspace})


async def test_a_definition_with_open_runs_is_not_deleted(
    database: Database, workspace: str
) -> None:
    await create(database, workspace)
    async with database.session() as session:
        run = await runs.insert_queued(session, workspace, definition="demo", version=1, input={})
    async with database.session() as session:
        with pytest.raises(ConflictError, match="1 open run"):
            await definitions.delete(session, workspace, "demo")
        await runs.close(session, workspace, run.id, RunStatus.COMPLETED)
        await definitions.delete(session, workspace, "demo")
    async with database.session() as session:
        with pytest.raises(NotFoundError):
            await definitions.get_version(session, workspace, "demo", 1)
        assert (await runs.get(session, workspace, run.id)).definition == "demo"
    await create(database, workspace)


async def test_pages_of_definitions(database: Database, workspace: str) -> None:
    async with database.session() as session:
        for number in range(5):
            await definitions.create(session, workspace, f"d{number}", DOCUMENT, "")
    async with database.session() as session:
        first = await definitions.list_page(session, workspace, limit=3)
        second = await definitions.list_page(session, workspace, limit=3, cursor=first.next_cursor)
    assert [row.name for row in first.items] == ["d4", "d3", "d2"]
    assert [row.name for row in second.items] == ["d1", "d0"]
    assert second.next_cursor is None


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    one = definitions.content_hash({"a": 1, "b": {"c": 1, "d": 2}})
    assert one == definitions.content_hash({"b": {"d": 2, "c": 1}, "a": 1})
    assert one != definitions.content_hash({"a": 2, "b": {"c": 1, "d": 2}})
