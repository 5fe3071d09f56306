"""Row-level security: a query without a workspace sees the rows of its scope alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select

from db import audit, definitions, runs
from db.audit import AuditEntry
from db.definitions import Definition
from db.engine import Database
from db.metadata import metadata
from db.scoped import ScopedConnection
from db.tenancy import EVERY, SERVICE_ROLE, current, enter, scope, system
from schemas.errors import ConflictError

MakeDatabase = Callable[[], Awaitable[str]]

# Tables without the column, and what guards their rows instead.
WITHOUT_WORKSPACE = {
    "bulk_items": "their job's row",
    "template_versions": "their template's row",
}
GUARDED_BY_PARENT = ("bulk_items", "template_versions")


@pytest.fixture(scope="module")
async def url(migrated_database: MakeDatabase) -> str:
    """A database with a definition in each of the workspaces `ours` and `theirs`."""
    made = await migrated_database()
    database = Database(made)
    for workspace in ("ours", "theirs"):
        async with database.session() as session:
            await definitions.create(session, workspace, "flow", {}, "")
            audit.add(session, workspace, actor="a", action="test", subject=workspace)
    await database.close()
    return made


@pytest.fixture
async def service(url: str) -> AsyncIterator[Database]:
    """The database as the service has it: its role, no scope unless one is given."""
    database = Database(url, pool_size=1, role=SERVICE_ROLE, scope=None)
    yield database
    await database.close()


async def seen(database: Database) -> list[str]:
    """Whose definitions a query without a workspace gives."""
    async with database.session() as session:
        found = await session.exec(select(Definition.workspace).order_by(Definition.workspace))
        return list(found.all())


async def test_every_table_has_its_policy(database: Database) -> None:
    query = sa.text(
        "SELECT c.relname, c.relrowsecurity, pg_get_expr(p.polqual, c.oid),"
        " pg_get_expr(p.polwithcheck, c.oid), p.polcmd::text, p.polpermissive"
        " FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid"
        " WHERE p.polname = 'sojourn_workspace'"
    )
    async with database.session() as session:
        found = {row[0]: row[1:] for row in (await (await session.connection()).execute(query))}
    for table in metadata.tables.values():
        if "workspace" in table.c:
            enabled, using, check, command, permissive = found[table.name]
            assert enabled, table.name
            assert "app.workspace" in using, table.name
            assert using == check, table.name
            assert (command, permissive) == ("*", True), table.name
        else:
            assert table.name in WITHOUT_WORKSPACE, f"{table.name} needs a policy, or a reason"
    for name in GUARDED_BY_PARENT:
        assert found[name][0]
        assert "EXISTS" in found[name][1]
        assert found[name][1] == found[name][2]


async def test_a_query_without_a_workspace_sees_its_scope_alone(service: Database) -> None:
    assert await seen(service) == []
    with scope("ours"):
        assert await seen(service) == ["ours"]
    with scope("o'urs"):
        assert await seen(service) == []
    with system():
        assert await seen(service) == ["ours", "theirs"]
    # Nothing stays on the connection, of which there is one.
    assert await seen(service) == []


async def test_a_scope_is_the_tasks_own(url: str) -> None:
    database = Database(url, pool_size=2, role=SERVICE_ROLE, scope=None)

    async def enter_and_look(workspace: str) -> list[str]:
        enter(workspace)
        return [name for _ in range(20) for name in await seen(database)]

    try:
        found = await asyncio.gather(*(enter_and_look(name) for name in ("ours", "theirs") * 4))
        assert found == [["ours"] * 20, ["theirs"] * 20] * 4
        assert current() is None
    finally:
        await database.close()


async def test_a_row_of_another_workspace_cannot_be_written(service: Database) -> None:
    with scope("ours"):
        with pytest.raises(DBAPIError, match="row-level security"):
            async with service.session() as session:
                await definitions.create(session, "theirs", "planted", {}, "")
        moved = sa.update(Definition).values(workspace="theirs")
        with pytest.raises(DBAPIError, match="row-level security"):
            async with service.session() as session:
                await (await session.connection()).execute(moved)
        async with service.session() as session:
            connection = await session.connection()
            for statement in (
                sa.update(Definition)
                .where(col(Definition.workspace) == "theirs")
                .values(name="taken"),
                sa.delete(Definition).where(col(Definition.workspace) == "theirs"),
            ):
                assert (await connection.execute(statement)).rowcount == 0


async def test_rows_without_a_workspace_follow_their_parents(url: str, service: Database) -> None:
    query = sa.text("SELECT count(*) FROM template_versions")
    owner = await asyncpg.connect(url)
    await owner.execute(
        "INSERT INTO templates"
        " (id, workspace, name, version, subject, text, created_at, updated_at)"
        " SELECT 't-' || w, w, 'welcome', 1, '', '', now(), now() FROM unnest($1::text[]) w"
        " ON CONFLICT DO NOTHING",
        ["ours", "theirs"],
    )
    await owner.execute(
        "INSERT INTO template_versions (template_id, version, subject, text, created_at)"
        " SELECT id, 1, '', '', now() FROM templates ON CONFLICT DO NOTHING"
    )
    await owner.close()
    for given, count in ((None, 0), ("ours", 1), (EVERY, 2)):
        with scope(given):
            async with service.session() as session:
                assert (await (await session.connection()).execute(query)).scalar_one() == count


async def test_shared_circuits_are_everybodys_in_a_scope(url: str, service: Database) -> None:
    owner = await asyncpg.connect(url)
    shared = "SELECT tablename FROM pg_policies WHERE policyname = 'sojourn_shared'"
    assert [row[0] for row in await owner.fetch(shared)] == ["ai_breakers"]
    await owner.execute(
        "INSERT INTO ai_breakers"
        " (workspace, endpoint, state, failures, window_at, epoch, probes, passed, updated_at)"
        " SELECT given, 'e', 'closed', 0, now(), 0, 0, 0, now()"
        " FROM unnest(ARRAY['', 'theirs']) AS given"
    )
    await owner.close()
    query = sa.text("SELECT count(*) FROM ai_breakers")
    for given, count in (("ours", 1), (None, 0), ("theirs", 2)):
        with scope(given):
            async with service.session() as session:
                assert (await (await session.connection()).execute(query)).scalar_one() == count


async def test_a_statement_without_a_transaction_has_the_scope_too(service: Database) -> None:
    async def alone() -> int:
        async with service.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            query = sa.text("SELECT count(*) FROM definitions")
            return (await connection.execute(query)).scalar_one()

    assert await alone() == 0
    for given, count in (("ours", 1), (None, 0), (EVERY, 2), ("nobody", 0)):
        with scope(given):
            assert await alone() == count
            assert len(await seen(service)) == count
    # What the session was left with is not what a transaction without a scope gets.
    with system():
        await alone()
    assert await seen(service) == []


async def test_the_scope_costs_no_statement(
    service: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    plain = asyncpg.Connection.execute

    async def noted(self: asyncpg.Connection, query: str, *args: object, **more: float) -> str:
        sent.append(query)
        return await plain(self, query, *args, **more)

    monkeypatch.setattr(asyncpg.Connection, "execute", noted)
    for name in ("ours", "theirs") * 3:
        with scope(name):
            await seen(service)
    # One message begins a transaction, one ends it, whoever it is for.
    begun = [query for query in sent if query.startswith("BEGIN")]
    assert [query.partition(" SET LOCAL ")[2] for query in begun[-2:]] == [
        "app.workspace = 'ours'",
        "app.workspace = 'theirs'",
    ]
    sent.clear()
    with scope("ours"):
        await seen(service)
    assert [query.partition(" ")[0].rstrip(";") for query in sent] == ["BEGIN", "COMMIT"]

    async def alone() -> None:
        async with service.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(sa.text("SELECT 1"))

    with scope("ours"):
        await alone()
        sent.clear()
        await alone()
        await seen(service)
    assert sent == ["BEGIN ISOLATION LEVEL READ COMMITTED;", "COMMIT;"]


async def test_the_service_may_not_change_the_audit(service: Database) -> None:
    with system():
        for statement in (
            sa.update(AuditEntry).values(actor="nobody"),
            sa.delete(AuditEntry),
            sa.text("TRUNCATE audit_entries"),
            sa.text("UPDATE audit_seals SET digest = ''"),
            sa.text("DELETE FROM audit_seals"),
            sa.text("UPDATE alembic_version SET version_num = '1'"),
            sa.text("ALTER TABLE audit_entries DISABLE ROW LEVEL SECURITY"),
            sa.text("DROP POLICY sojourn_workspace ON runs"),
            sa.text("CREATE TABLE planted (id int)"),
            sa.text("SELECT sojourn_prune_audit('ours', now(), 10)"),
        ):
            with pytest.raises(DBAPIError) as refused:
                async with service.session() as session:
                    await (await session.connection()).execute(statement)
            assert getattr(refused.value.orig, "sqlstate", None) == "42501", statement
    with scope("ours"), pytest.raises(DBAPIError, match="another workspace"):
        async with service.session() as session:
            await (await session.connection()).execute(
                sa.text("SELECT sojourn_prune_audit('theirs', now() - interval '90 days', 10)")
            )


async def test_without_the_policies_the_rows_of_others_come(
    migrated_database: MakeDatabase,
) -> None:
    """The control: what the attacks above are stopped by is the policies."""
    url = await migrated_database()
    owner = Database(url)
    for workspace in ("ours", "theirs"):
        async with owner.session() as session:
            await definitions.create(session, workspace, "flow", {}, "")
    service = Database(url, role=SERVICE_ROLE, scope=None)
    try:
        with scope("ours"):
            assert await seen(service) == ["ours"]
            async with owner.engine.begin() as connection:
                await connection.execute(
                    sa.text("ALTER TABLE definitions DISABLE ROW LEVEL SECURITY")
                )
            assert await seen(service) == ["ours", "theirs"]
            async with service.session() as session:
                planted = Definition(workspace="theirs", name="planted")
                session.add(planted)
    finally:
        await service.close()
        await owner.close()


async def test_a_cancelled_change_of_scope_is_not_taken_for_done(service: Database) -> None:
    async with service.engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert isinstance(raw, ScopedConnection)
        with system():
            changing = asyncio.create_task(raw.rescope())
            await asyncio.sleep(0)
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
        assert raw.scoped is None
    assert await seen(service) == []


async def test_a_database_without_the_role_says_what_to_do(url: str) -> None:
    database = Database(url, role="no_such_role", scope=None)
    with pytest.raises(ConflictError, match="no_such_role") as refused:
        await database.ping()
    assert refused.value.hint is not None
    assert "sojourn migrate" in refused.value.hint
    await database.close()


async def test_the_plan_of_a_page_of_runs_uses_its_index(service: Database) -> None:
    """A policy must not stand between a query and its index."""
    plans: list[str] = []

    def explain(*given: object) -> None:
        plans.append(str(given[2]))

    event.listen(service.engine.sync_engine, "before_cursor_execute", explain)
    with scope("ours"):
        async with service.session() as session:
            await (await session.connection()).execute(sa.text("SET LOCAL enable_seqscan = off"))
            statement = select(runs.Run.id).where(
                runs.Run.workspace == "ours", runs.Run.definition == "flow"
            )
            text = str(
                statement.compile(
                    dialect=service.engine.sync_engine.dialect,
                    compile_kwargs={"literal_binds": True},
                )
            )
            rows = await (await session.connection()).execute(sa.text(f"EXPLAIN {text}"))
            plan = "\n".join(rows.scalars())
    assert "ix_runs_definition" in plan
    assert "Index Cond" in plan
