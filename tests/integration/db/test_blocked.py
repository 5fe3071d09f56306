"""Blocked runs and their dead letters: one for a run, however often it is blocked."""

from uuid import uuid4

from db import blocked, dead_letters, runs
from db.dead_letter_table import DeadLetter, LetterState
from db.dead_letters import Wanted
from db.engine import Database
from schemas.run import RunStatus


async def letter(database: Database, run_id: str) -> DeadLetter:
    async with database.session() as session:
        page = await dead_letters.list_page(session, "default", Wanted(run_id=run_id))
    (found,) = page.items
    return found


async def test_the_letter_of_a_run_that_is_blocked_again(database: Database) -> None:
    async with database.session() as session:
        run = await runs.insert_queued(
            session, "default", definition=f"flow-{uuid4().hex}", version=1, input={}
        )
    async with database.session() as session:
        assert await blocked.mark(session, run, "one fault")
        assert not await blocked.mark(session, run, "another fault")
    first = await letter(database, run.id)
    assert (first.state, first.message, first.redrives) == (LetterState.OPEN, "one fault", 0)
    async with database.session() as session:
        assert await blocked.clear(session, run.id)
    settled = await letter(database, run.id)
    assert (settled.state, settled.settled_at is None) == (LetterState.REDRIVEN, False)
    async with database.session() as session:
        assert await blocked.mark(session, run, "another fault")
    again = await letter(database, run.id)
    assert (again.id, again.state, again.redrives) == (first.id, LetterState.OPEN, 1)
    assert (again.message, again.settled_at) == ("another fault", None)
    assert again.fingerprint != first.fingerprint
    assert again.created_at > first.created_at
    assert again.created_at <= again.updated_at
    async with database.session() as session:
        await runs.close(session, "default", run.id, RunStatus.TERMINATED)
        assert not await blocked.mark(session, run, "too late")
        await blocked.settle_letters(session)
    assert (await letter(database, run.id)).state is LetterState.REDRIVEN
