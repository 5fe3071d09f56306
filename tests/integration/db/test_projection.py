"""A run's projection: order, repetition, final statuses, odd values."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from db import runs
from db.engine import Database
from db.projection import add_missing_steps
from schemas.run import ErrorInfo, Projection, RunStatus, StepRecord, StepStatus

START = datetime(2026, 1, 1, tzinfo=UTC)


async def new_run(database: Database, workspace: str) -> str:
    """Store a queued run and return its id."""
    async with database.session() as session:
        run = await runs.insert_queued(
            session, workspace, definition="demo", version=1, input={"b": 1, "a": 2}
        )
    return run.id


def projection(workspace: str, run_id: str, seq: int, status: RunStatus, **more: Any) -> Projection:
    """Build a projection."""
    return Projection(workspace=workspace, run_id=run_id, seq=seq, status=status, **more)


def step(path: str, status: StepStatus = StepStatus.COMPLETED, **more: Any) -> StepRecord:
    """Build a step's record."""
    return StepRecord(
        path=path, id=path.rsplit(".", 1)[-1], type="set", status=status, attempts=1, **more
    )


async def apply(database: Database, item: Projection) -> bool:
    """Apply a projection in a transaction of its own."""
    async with database.session() as session:
        return await runs.project(await session.connection(), item)


async def test_a_run_and_its_steps_are_written_in_one_statement(
    database: Database, workspace: str
) -> None:
    run_id = await new_run(database, workspace)
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        item = projection(
            workspace,
            run_id,
            1,
            RunStatus.WAITING,
            waiting_for="3 days",
            until=START + timedelta(days=3),
            steps=[
                step(
                    "send",
                    input={"z": 1, "a": [None, "x\x00y", "ü"]},
                    output="text",
                    started_at=START,
                    finished_at=START + timedelta(milliseconds=1500),
                ),
                step(
                    "each[2].check",
                    StepStatus.FAILED,
                    error=ErrorInfo(code="HTTP_ERROR", message="m\x00"),
                ),
                step("think", StepStatus.WAITING, note="nap", title="T", until=START),
            ],
        )
        assert await apply(database, item)
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert len(statements) == 1

    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
        rows = await runs.steps(session, workspace, run_id)
    assert (run.status, run.seq, run.waiting_for) == (RunStatus.WAITING, 1, "3 days")
    assert run.until == START + timedelta(days=3)
    assert list(run.input) == ["b", "a"], "the order of keys is kept"
    assert [row.path for row in rows] == ["send", "each[2].check", "think"]
    assert rows[0].duration_ms == 1500
    assert rows[0].input == {"z": 1, "a": [None, "x\x00y", "ü"]}
    assert list(rows[0].input) == ["z", "a"]
    assert rows[0].output == "text"
    assert rows[1].error_code == "HTTP_ERROR"
    assert rows[1].error is not None
    assert rows[1].error["message"] == "m\x00"
    assert (rows[2].note, rows[2].title, rows[2].until) == ("nap", "T", START)


async def test_an_older_projection_changes_nothing(database: Database, workspace: str) -> None:
    run_id = await new_run(database, workspace)
    newer = projection(workspace, run_id, 3, RunStatus.WAITING, steps=[step("a", output=3)])
    older = projection(
        workspace, run_id, 2, RunStatus.RUNNING, steps=[step("a", output=2), step("b")]
    )
    assert await apply(database, newer)
    assert not await apply(database, older)
    async with database.session() as session:
        assert (await runs.get(session, workspace, run_id)).status is RunStatus.WAITING
        rows = await runs.steps(session, workspace, run_id)
    assert [(row.path, row.output) for row in rows] == [("a", 3)]


async def test_later_projections_keep_inputs_and_the_order_of_steps(
    database: Database, workspace: str
) -> None:
    run_id = await new_run(database, workspace)
    first = [step("b", StepStatus.RUNNING, input={"to": "x"}, started_at=START), step("a")]
    second = [step("c"), step("b", output={"ok": True})]
    assert await apply(database, projection(workspace, run_id, 1, RunStatus.RUNNING, steps=first))
    assert await apply(database, projection(workspace, run_id, 2, RunStatus.RUNNING, steps=second))
    async with database.session() as session:
        rows = await runs.steps(session, workspace, run_id)
        later = await runs.steps(session, workspace, run_id, after=rows[1].position)
    assert [row.path for row in rows] == ["b", "a", "c"]
    assert [row.path for row in later] == ["c"]
    assert (rows[0].input, rows[0].output, rows[0].started_at) == ({"to": "x"}, {"ok": True}, START)


async def test_what_was_missing_takes_its_place_before_what_the_run_wrote_meanwhile(
    database: Database, workspace: str
) -> None:
    run_id = await new_run(database, workspace)
    woken = [step("asleep", input=1), step("mail"), step("wake", StepStatus.RUNNING)]
    assert await apply(database, projection(workspace, run_id, 3, RunStatus.RUNNING, steps=woken))
    whole = [step("begin"), step("asleep"), step("mail"), step("wake")]
    told = projection(workspace, run_id, 3, RunStatus.RUNNING, steps=whole)
    async with database.session() as session:
        assert await add_missing_steps(await session.connection(), told)
    last = [step("wake"), step("end")]
    assert await apply(database, projection(workspace, run_id, 4, RunStatus.COMPLETED, steps=last))
    async with database.session() as session:
        rows = await runs.steps(session, workspace, run_id)
    assert [row.path for row in rows] == ["begin", "asleep", "mail", "wake", "end"]
    assert rows[1].input == 1
    assert rows[3].status is StepStatus.COMPLETED


async def test_the_same_projection_twice_is_the_same_as_once(
    database: Database, workspace: str
) -> None:
    run_id = await new_run(database, workspace)
    item = projection(workspace, run_id, 1, RunStatus.RUNNING, steps=[step("a", output=1)])
    await asyncio.gather(*(apply(database, item) for _ in range(8)))
    again = projection(workspace, run_id, 1, RunStatus.RUNNING, steps=[step("a", output=2)])
    assert await apply(database, again), "a repeated workflow task may come to another outcome"
    async with database.session() as session:
        rows = await runs.steps(session, workspace, run_id)
    assert [(row.path, row.output) for row in rows] == [("a", 2)]


async def test_twenty_projections_in_any_order_leave_the_newest(
    database: Database, workspace: str
) -> None:
    run_id = await new_run(database, workspace)
    items = [
        projection(workspace, run_id, seq, RunStatus.RUNNING, steps=[step("a", output=seq)])
        for seq in range(1, 21)
    ]
    await asyncio.gather(*(apply(database, item) for item in reversed(items)))
    async with database.session() as session:
        assert (await runs.get(session, workspace, run_id)).seq == 20
        assert (await runs.steps(session, workspace, run_id))[0].output == 20


@pytest.mark.parametrize("final", [status for status in RunStatus if status.terminal])
async def test_a_final_status_stays(database: Database, workspace: str, final: RunStatus) -> None:
    run_id = await new_run(database, workspace)
    error = ErrorInfo(code="STEP_FAILED", message="no", step="a")
    assert await apply(
        database, projection(workspace, run_id, 1, final, error=error, output={"x": 1})
    )
    assert not await apply(database, projection(workspace, run_id, 2, RunStatus.RUNNING))
    async with database.session() as session:
        assert not await runs.close(session, workspace, run_id, RunStatus.TERMINATED)
        assert await runs.mark_started(session, workspace, run_id, "temporal-1")
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
    assert (run.status, run.output, run.temporal_run_id) == (final, {"x": 1}, "temporal-1")
    assert run.finished_at is not None
    assert run.error is not None
    assert run.error["step"] == "a"

    reopen = sa.text("UPDATE runs SET status = 'running' WHERE id = :id")
    async with database.engine.begin() as connection:
        with pytest.raises(IntegrityError, match="for good"):
            await connection.execute(reopen, {"id": run_id})


async def test_projections_of_other_workspaces_and_unknown_runs_miss(
    database: Database, workspace: str
) -> None:
    run_id = await new_run(database, workspace)
    stray = projection("elsewhere", run_id, 9, RunStatus.FAILED, steps=[step("a")])
    assert not await apply(database, stray)
    assert not await apply(
        database, projection(workspace, "none", 1, RunStatus.FAILED, steps=[step("a")])
    )
    async with database.session() as session:
        assert await runs.steps(session, workspace, run_id) == []


async def test_two_thousand_steps_fit_one_projection(database: Database, workspace: str) -> None:
    run_id = await new_run(database, workspace)
    many = [step(f"each[{number}].do", output={"n": number}) for number in range(2000)]
    assert await apply(database, projection(workspace, run_id, 1, RunStatus.RUNNING, steps=many))
    async with database.session() as session:
        rows = await runs.steps(session, workspace, run_id)
    assert [row.output["n"] for row in rows] == list(range(2000))


async def test_a_projection_whose_transaction_fails_leaves_nothing(
    database: Database, workspace: str
) -> None:
    run_id = await new_run(database, workspace)
    item = projection(workspace, run_id, 1, RunStatus.COMPLETED, steps=[step("a")])

    async def fail() -> None:
        async with database.session() as session:
            assert await runs.project(await session.connection(), item)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await fail()
    assert await apply(database, item)


async def test_values_json_lacks_become_null(database: Database, workspace: str) -> None:
    run_id = await new_run(database, workspace)
    item = projection(
        workspace,
        run_id,
        1,
        RunStatus.RUNNING,
        steps=[step("a", output={"x": float("nan"), "y": 1.5})],
    )
    assert await apply(database, item)
    async with database.session() as session:
        assert (await runs.steps(session, workspace, run_id))[0].output == {"x": None, "y": 1.5}


async def test_closing_from_outside_cancels_open_steps(database: Database, workspace: str) -> None:
    run_id = await new_run(database, workspace)
    steps = [step("a"), step("b", StepStatus.WAITING, until=START), step("c", StepStatus.RUNNING)]
    assert await apply(database, projection(workspace, run_id, 1, RunStatus.WAITING, steps=steps))
    error = ErrorInfo(code="CANCELLED", message="terminated by an operator")
    async with database.session() as session:
        assert await runs.close(session, workspace, run_id, RunStatus.TERMINATED, error=error)
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
        rows = await runs.steps(session, workspace, run_id)
    assert run.status is RunStatus.TERMINATED
    assert run.error is not None
    assert run.error["message"] == "terminated by an operator"
    assert [row.status for row in rows] == [
        StepStatus.COMPLETED,
        StepStatus.CANCELLED,
        StepStatus.CANCELLED,
    ]
    assert rows[1].until is None
    assert rows[1].finished_at is not None
    async with database.session() as session:
        with pytest.raises(ValueError, match="not a final status"):
            await runs.close(session, workspace, run_id, RunStatus.PAUSED)
