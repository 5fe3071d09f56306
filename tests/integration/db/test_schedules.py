"""Due times become runs: once each, as the overlap policy allows, whoever asks."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col

from db import definitions, runs, schedule_table, schedules, triggers
from db.base import now
from db.engine import Database
from db.run_table import Run
from db.schedule_table import ScheduleState
from db.trigger_table import Trigger
from schemas.errors import InputError, LimitError
from schemas.run import RunStatus
from schemas.schedules import SlotAnswer, SlotCall, SlotOutcome
from schemas.triggers import ScheduledTrigger

DOCUMENT = {"name": "demo", "steps": [{"id": "a", "type": "set", "vars": {}}]}


async def add(database: Database, workspace: str, **given: Any) -> Trigger:
    values = {"every": "1m", "input": {"at": "{{ schedule.local_time }}"}, **given}
    async with database.session() as session:
        await definitions.create(session, workspace, "demo", DOCUMENT, "", publish=True)
        config = ScheduledTrigger.model_validate({"kind": "schedule", **values})
        return await triggers.add(session, workspace, "demo", config)


_begun: dict[str, datetime] = {}


@pytest.fixture(autouse=True)
def one_minute() -> None:
    """For a test it stays the minute in which it began."""
    _begun["minute"] = now().replace(second=0, microsecond=0)


def minute(back: int = 0) -> datetime:
    """The minute in which the test began, or one before it."""
    return _begun["minute"] - timedelta(minutes=back)


async def ask(
    database: Database, trigger: Trigger, due: datetime, *, gate: datetime | None = None
) -> schedules.Decision:
    call = SlotCall(
        workspace=trigger.workspace, trigger_id=trigger.id, due=due, gate_started=gate or due
    )
    async with database.session() as session:
        return await schedules.order_due(session, call)


async def answer(database: Database, trigger: Trigger, due: datetime) -> SlotAnswer:
    return (await ask(database, trigger, due)).answer


async def get(database: Database, trigger: Trigger) -> Trigger:
    async with database.session() as session:
        return await triggers.get(session, trigger.workspace, "demo", trigger.id)


async def run_of(database: Database, trigger: Trigger, run_id: str | None) -> Run:
    assert run_id is not None
    async with database.session() as session:
        return await runs.get(session, trigger.workspace, run_id)


async def end(database: Database, trigger: Trigger, run_id: str | None) -> None:
    assert run_id is not None
    async with database.session() as session:
        await runs.close(session, trigger.workspace, run_id, RunStatus.COMPLETED)


async def buffered(database: Database, workspace: str) -> int:
    async with database.session() as session:
        return await schedules.order_buffered(session, workspace)


async def test_a_due_time_makes_one_run_however_often_it_is_asked_for(
    database: Database, workspace: str
) -> None:
    trigger = await add(database, workspace, overlap="allow", timezone="Asia/Tokyo")
    asked = [ask(database, trigger, minute(back)) for back in (0, 1) for _ in range(8)]
    found = [decision.answer for decision in await asyncio.gather(*asked)]
    assert sorted(one.outcome for one in found) == [SlotOutcome.DUPLICATE] * 14 + ["ordered"] * 2
    assert len({one.run_id for one in found}) == 2
    run = await run_of(database, trigger, found[0].run_id)
    assert (run.trigger_id, run.status) == (trigger.id, RunStatus.QUEUED)
    assert run.input == {"at": (minute() + timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:00+09:00")}
    after = await get(database, trigger)
    assert after.last_fired_at is not None
    assert after.next_due_at is not None
    assert after.next_due_at > now()
    assert after.updated_at == trigger.updated_at


async def test_an_hour_that_comes_twice_runs_once(database: Database, workspace: str) -> None:
    trigger = await add(
        database, workspace, every=None, cron="30 2 * * *", timezone="Europe/Berlin"
    )
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    gates = [ask(database, trigger, due, gate=now()) for due in (first, first + timedelta(hours=1))]
    found = [decision.answer for decision in await asyncio.gather(*gates)]
    assert sorted(one.outcome for one in found) == [SlotOutcome.DUPLICATE, SlotOutcome.ORDERED]


async def test_skip_starts_nothing_while_a_run_is_open(database: Database, workspace: str) -> None:
    trigger = await add(database, workspace)
    first = await answer(database, trigger, minute(2))
    second = await answer(database, trigger, minute(1))
    assert second.outcome is SlotOutcome.SKIPPED
    assert str(first.run_id) in str(second.message)
    await end(database, trigger, first.run_id)
    assert (await answer(database, trigger, minute())).outcome is SlotOutcome.ORDERED


async def test_buffer_one_keeps_one_for_later(database: Database, workspace: str) -> None:
    trigger = await add(database, workspace, overlap="buffer_one")
    first = await answer(database, trigger, minute(3))
    outcomes = [(await answer(database, trigger, minute(back))).outcome for back in (2, 2, 1)]
    assert outcomes == [SlotOutcome.BUFFERED, SlotOutcome.BUFFERED, SlotOutcome.SKIPPED]
    assert await buffered(database, workspace) == 0
    await end(database, trigger, first.run_id)
    assert sum(await asyncio.gather(*(buffered(database, workspace) for _ in range(4)))) == 1
    assert (await answer(database, trigger, minute(2))).outcome is SlotOutcome.DUPLICATE
    assert await buffered(database, workspace) == 0


async def test_cancel_other_names_the_runs_to_end_also_when_asked_again(
    database: Database, workspace: str
) -> None:
    trigger = await add(database, workspace, overlap="cancel_other")
    first = await answer(database, trigger, minute(1))
    old = await run_of(database, trigger, first.run_id)
    async with database.session() as session:
        await session.exec(sa.update(Run).where(col(Run.id) == old.id).values(admitted_at=now()))
    for outcome in (SlotOutcome.ORDERED, SlotOutcome.DUPLICATE):
        decision = await ask(database, trigger, minute())
        assert (decision.answer.outcome, decision.cancel) == (outcome, [old.workflow_id])
    await end(database, trigger, first.run_id)
    assert (await ask(database, trigger, minute())).cancel == []


async def test_cancel_other_ends_a_run_that_waits_for_its_turn(
    database: Database, workspace: str
) -> None:
    trigger = await add(database, workspace, overlap="cancel_other")
    first = await answer(database, trigger, minute(1))
    async with database.session() as session:
        await session.exec(
            sa.update(Run).where(col(Run.id) == first.run_id).values(admitted_at=None)
        )
    decision = await ask(database, trigger, minute())
    assert (decision.answer.outcome, decision.cancel) == (SlotOutcome.ORDERED, [])
    assert (await run_of(database, trigger, first.run_id)).status is RunStatus.CANCELLED


async def test_what_rests_or_comes_too_late_starts_nothing(
    database: Database, workspace: str
) -> None:
    trigger = await add(database, workspace, catchup="1m", overlap="allow")
    late = await answer(database, trigger, minute(5))
    assert late.outcome is SlotOutcome.LATE
    assert "came after" in str((await get(database, trigger)).last_error)
    # A backfill of Temporal's own tools starts gates of old times.
    by_hand = await ask(database, trigger, minute(5), gate=now())
    assert by_hand.answer.outcome is SlotOutcome.ORDERED
    for paused in (True, False):
        async with database.session() as session:
            row = await triggers.get(session, workspace, "demo", trigger.id)
            changed = await schedules.set_paused(session, row, paused=paused)
        assert (changed.next_due_at is None) is paused
        expected = SlotOutcome.RESTING if paused else SlotOutcome.ORDERED
        assert (await answer(database, trigger, minute())).outcome is expected
    async with database.session() as session:
        await triggers.delete(session, workspace, "demo", trigger.id)
    assert (await answer(database, trigger, minute())).outcome is SlotOutcome.RESTING


async def test_what_cannot_start_says_why_and_may_start_later(
    database: Database, workspace: str
) -> None:
    trigger = await add(database, workspace, input={"at": "{{ 1 / 0 }}"})
    failed = await answer(database, trigger, minute())
    assert failed.outcome is SlotOutcome.FAILED
    assert str((await get(database, trigger)).last_error).startswith("EXPRESSION_ERROR")
    async with database.session() as session:
        config = schedules.config_of(trigger).model_copy(update={"input": {}})
        await triggers.replace(session, workspace, "demo", trigger.id, config)
    assert (await answer(database, trigger, minute())).outcome is SlotOutcome.ORDERED


async def test_backfill_fills_what_is_empty(database: Database, workspace: str) -> None:
    trigger = await add(database, workspace)
    held = await answer(database, trigger, minute(3))
    for created in (4, 0):
        async with database.session() as session:
            filled = await schedules.backfill(
                session, trigger, minute(5), minute(1), actor="somebody"
            )
        assert [one.due for one in filled] == [minute(back) for back in (5, 4, 3, 2, 1)]
        assert filled[2].run_id == held.run_id
        assert sum(one.created for one in filled) == created
    async with database.session() as session:
        with pytest.raises(InputError, match="past"):
            await schedules.backfill(session, trigger, minute(), minute(-5), actor="somebody")
        with pytest.raises(LimitError, match="500"):
            await schedules.backfill(session, trigger, minute(600), minute(), actor="somebody")


async def test_temporal_is_told_of_each_change_and_of_the_end(
    database: Database, workspace: str
) -> None:
    trigger = await add(database, workspace)

    async def unwritten(again_after: timedelta = timedelta(days=1)) -> list[str]:
        async with database.session() as session:
            found = await schedule_table.unwritten(session, workspace, again_after=again_after)
        return [one.id for one in found]

    async def write(row: Trigger) -> None:
        async with database.session() as session:
            await schedule_table.note_written(session, row)

    assert await unwritten() == [trigger.id]
    await write(trigger)
    assert await unwritten() == []
    assert await unwritten(timedelta(0)) == [trigger.id]
    async with database.session() as session:
        changed = await triggers.switch(session, workspace, "demo", trigger.id, enabled=False)
    # An older row that is written late does not hide the change.
    await write(trigger)
    assert await unwritten() == [trigger.id]
    await write(changed)
    assert await unwritten() == []
    async with database.session() as session:
        await definitions.delete(session, workspace, "demo")
    async with database.session() as session:
        gone = await schedule_table.orphans(session, workspace)
        assert [(one.definition, one.trigger_id) for one in gone] == [("demo", trigger.id)]
        await schedule_table.forget(session, trigger.id)
        assert await session.get(ScheduleState, trigger.id) is None
