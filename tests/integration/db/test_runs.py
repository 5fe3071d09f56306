"""Runs: start marks, pages, the reconciler's queries, idempotency keys."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from db import idempotency, runs
from db.base import now
from db.engine import Database
from db.ids import new_id
from db.locks import try_lock
from schemas.errors import ConflictError, InputError, NotFoundError
from schemas.run import RunStatus
from tests.conftest import MakeDatabase


async def add(
    database: Database, workspace: str, *, definition: str = "demo", lead_id: str | None = None
) -> str:
    """Store a queued run and return its id."""
    async with database.session() as session:
        run = await runs.insert_queued(
            session, workspace, definition=definition, version=1, input={}, lead_id=lead_id
        )
    return run.id


async def test_a_started_run_is_running_and_cannot_be_withdrawn(
    database: Database, workspace: str
) -> None:
    run_id = await add(database, workspace)
    async with database.session() as session:
        assert await runs.mark_started(session, workspace, run_id, "first")
        assert await runs.mark_started(session, workspace, run_id, "second")
        assert not await runs.mark_started(session, "elsewhere", run_id, "third")
        assert not await runs.remove_unstarted(session, workspace, run_id)
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
        with pytest.raises(NotFoundError):
            await runs.get(session, "elsewhere", run_id)
    assert (run.status, run.temporal_run_id) == (RunStatus.RUNNING, "first")
    assert run.started_at is not None
    assert run.workflow_id == f"{workspace}/demo/{run_id}"


async def test_pages_stay_whole_while_runs_are_added(database: Database, workspace: str) -> None:
    ids = [await add(database, workspace) for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        async with database.session() as session:
            page = await runs.list_page(session, workspace, cursor=cursor, limit=3)
        seen += [run.id for run in page.items]
        await add(database, workspace)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ids[::-1]


async def test_runs_of_one_instant_are_each_listed_once(database: Database, workspace: str) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    async with database.session() as session:
        for _ in range(5):
            run = await runs.insert_queued(session, workspace, definition="d", version=1, input={})
            run.created_at = moment
            session.add(run)
    async with database.session() as session:
        first = await runs.list_page(session, workspace, limit=2)
        second = await runs.list_page(session, workspace, limit=2, cursor=first.next_cursor)
        third = await runs.list_page(session, workspace, limit=2, cursor=second.next_cursor)
    ids = [run.id for page in (first, second, third) for run in page.items]
    assert len(set(ids)) == 5
    assert third.next_cursor is None


async def test_filters(database: Database, workspace: str) -> None:
    first = await add(database, workspace, definition="one", lead_id="lead")
    between = now()
    second = await add(database, workspace, definition="two")
    async with database.session() as session:
        await runs.close(session, workspace, second, RunStatus.FAILED)

    async def ids(**filters: object) -> list[str]:
        async with database.session() as session:
            page = await runs.list_page(session, workspace, **filters)  # pyright: ignore[reportArgumentType]
        return [run.id for run in page.items]

    assert await ids() == [second, first]
    assert await ids(definition="one") == [first]
    assert await ids(status=RunStatus.FAILED) == [second]
    assert await ids(status=[RunStatus.FAILED, RunStatus.QUEUED]) == [second, first]
    assert await ids(lead_id="lead") == [first]
    assert await ids(created_from=between) == [second]
    assert await ids(created_to=between) == [first]
    assert await ids(created_from=between, definition="one") == []


@pytest.mark.parametrize("cursor", ["x", "%%%", "bnVsbA", "WyIyMDI2LTAxLTAxIiwieCJd", "ü", "W10"])
async def test_bad_cursors_are_refused(database: Database, workspace: str, cursor: str) -> None:
    async with database.session() as session:
        with pytest.raises(InputError, match="cursor"):
            await runs.list_page(session, workspace, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_bad_limits_are_refused(database: Database, workspace: str, limit: int) -> None:
    async with database.session() as session:
        with pytest.raises(InputError, match="limit"):
            await runs.list_page(session, workspace, limit=limit)


async def test_text_that_postgresql_cannot_hold_is_an_input_error(
    database: Database, workspace: str
) -> None:
    with pytest.raises(InputError):
        async with database.session() as session:
            await runs.get(session, workspace, "a\x00b")


async def test_fifty_starts_with_one_key_make_one_run(database: Database, workspace: str) -> None:
    async def start() -> str:
        run_id = new_id()
        async with database.session() as session:
            owner = await idempotency.claim(session, workspace, "key", "print", run_id)
            if owner == run_id:
                await runs.insert_queued(
                    session, workspace, definition="demo", version=1, input={}, run_id=run_id
                )
            else:
                assert (await runs.get(session, workspace, owner)).status is RunStatus.QUEUED
        return owner

    owners = await asyncio.gather(*(start() for _ in range(50)))
    assert len(set(owners)) == 1
    async with database.session() as session:
        assert [run.id for run in (await runs.list_page(session, workspace)).items] == [owners[0]]
        with pytest.raises(ConflictError, match="another request"):
            await idempotency.claim(session, workspace, "key", "other", new_id())


async def test_a_withdrawn_run_frees_its_key(database: Database, workspace: str) -> None:
    for _ in range(2):
        run_id = new_id()
        async with database.session() as session:
            assert await idempotency.claim(session, workspace, "key", "print", run_id) == run_id
            await runs.insert_queued(
                session, workspace, definition="demo", version=1, input={}, run_id=run_id
            )
        async with database.session() as session:
            assert await runs.remove_unstarted(session, workspace, run_id)
            assert not await runs.remove_unstarted(session, workspace, run_id)


def test_fingerprints_tell_requests_apart() -> None:
    assert idempotency.fingerprint("a", {"x": 1}) == idempotency.fingerprint("a", {"x": 1})
    assert idempotency.fingerprint("a", {"x": 1}) != idempotency.fingerprint("a", {"x": 2})


async def test_stale_runs_are_handed_to_one_reconciler(database: Database, workspace: str) -> None:
    mine = {await add(database, workspace) for _ in range(4)}
    closed = await add(database, workspace)
    async with database.session() as session:
        await runs.close(session, workspace, closed, RunStatus.COMPLETED)
    later = now() + timedelta(minutes=1)
    # Other tests leave open runs in this database.
    most = 1_000_000
    async with database.session() as one:
        first = {run.id for run in await runs.stale_open(one, older_than=later, limit=most)}
        async with database.session() as two:
            second = {run.id for run in await runs.stale_open(two, older_than=later, limit=most)}
        assert mine <= first
        assert not mine & second
        assert closed not in first
        await runs.mark_checked(one, sorted(mine))
    async with database.session() as session:
        fresh = await runs.stale_open(session, older_than=now() - timedelta(hours=1), limit=most)
        queued = await runs.stale_open(
            session, older_than=later, limit=most, status=[RunStatus.QUEUED]
        )
        running = await runs.stale_open(
            session, older_than=later, limit=1000, status=[RunStatus.RUNNING]
        )
        still = await runs.open_among(
            session, [f"{workspace}/demo/{run_id}" for run_id in [*mine, closed]]
        )
        ended = await runs.ended_among(
            session, [f"{workspace}/demo/{run_id}" for run_id in [*mine, closed]]
        )
    assert not mine & {run.id for run in fresh}
    assert mine <= {run.id for run in queued}
    assert not mine & {run.id for run in running}
    assert {run.id for run in still} == mine
    assert ended == {f"{workspace}/demo/{closed}": RunStatus.COMPLETED}


async def test_the_oldest_check_is_that_of_open_runs(
    migrated_database: MakeDatabase, workspace: str
) -> None:
    database = Database(await migrated_database())
    async with database.session() as session:
        assert await runs.oldest_check(session) is None
    ids = [await add(database, workspace) for _ in range(3)]
    async with database.session() as session:
        await runs.close(session, workspace, ids[0], RunStatus.COMPLETED)
        await runs.mark_checked(session, [ids[2]])
        second = (await runs.get(session, workspace, ids[1])).checked_at
        assert await runs.oldest_check(session) == second
    await database.close()


async def test_a_named_lock_is_held_by_one(database: Database) -> None:
    name = uuid4().hex
    async with database.session() as one:
        assert await try_lock(one, name)
        async with database.session() as two:
            assert not await try_lock(two, name)
    async with database.session() as three:
        assert await try_lock(three, name)


def test_ids_are_version_7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(identity[14] == "7" and identity[19] in "89ab" for identity in ids)
    first = [identity[:18] for identity in ids]
    assert first == sorted(first)


async def test_children_are_listed_under_their_parent(database: Database, workspace: str) -> None:
    child = runs.Run(
        workspace=workspace,
        definition="one",
        version=1,
        workflow_id="w/one/1",
        parent_run_id="p1",
        parent_path="each[0]",
    )
    async with database.session() as session:
        top = await runs.insert_queued(session, workspace, definition="one", version=1, input={})
        first = await runs.insert_child(session, child)
        again = await runs.insert_child(session, child.model_copy(update={"version": 2}))
        assert (first.status, again.version) == (RunStatus.QUEUED, 1)
        assert [run.id for run in (await runs.list_page(session, workspace)).items] == [top.id]
        below = (await runs.list_page(session, workspace, parent="p1")).items
        assert [(run.id, run.parent_path) for run in below] == [(child.id, "each[0]")]
