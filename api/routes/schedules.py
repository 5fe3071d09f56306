"""/definitions/{name}/triggers/{trigger_id}: when schedules are due, pausing, firing by hand."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlmodel.ext.asyncio.session import AsyncSession

from api.dependencies import ActorDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath
from api.models.schedules import (
    BackfillAnswer,
    BackfillInput,
    DueTime,
    FilledTime,
    FiredAnswer,
    SchedulePreview,
)
from api.routes.triggers import changing_trigger
from db import definitions, schedule_table, schedules, triggers
from db.base import now
from db.trigger_table import Trigger
from schemas.due_times import first_due, skipped_walls

router = APIRouter(tags=["triggers"], prefix="/definitions/{name}/triggers/{trigger_id}")

TriggerPath = Annotated[str, Path(min_length=1, max_length=64, description="the trigger's id")]
_MAX_PREVIEW = 100


@router.get("/preview", responses=problems(404))
async def preview_schedule(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    count: Annotated[int, Query(ge=1, le=_MAX_PREVIEW)] = 10,
) -> SchedulePreview:
    """The next times at which a schedule is due, with what summer time does to them."""
    trigger = await _trigger(session, workspace, name, trigger_id)
    config, moment = schedules.config_of(trigger), now()
    found = first_due(config, moment, count)
    last = found[-1].time if found else moment
    return SchedulePreview(
        items=[DueTime(time=due.time, local_time=due.local, note=due.note) for due in found],
        skipped=skipped_walls(config, moment, last),
        resting=schedules.is_resting(config),
        written=await schedule_table.is_written(session, trigger),
    )


@router.post("/pause", status_code=204, responses=problems(404))
async def pause_schedule(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> None:
    """Start nothing until resumed; what falls due meanwhile is not made good."""
    trigger = await _trigger(session, workspace, name, trigger_id)
    async with changing_trigger(session, workspace, name, trigger_id, actor, "pause_schedule"):
        await schedules.set_paused(session, trigger, paused=True)


@router.post("/resume", status_code=204, responses=problems(404))
async def resume_schedule(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> None:
    """Go on with what falls due from now on."""
    trigger = await _trigger(session, workspace, name, trigger_id)
    async with changing_trigger(session, workspace, name, trigger_id, actor, "resume_schedule"):
        await schedules.set_paused(session, trigger, paused=False)


@router.post("/fire", status_code=202, responses=problems(404, 409, 413))
async def fire_schedule(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> FiredAnswer:
    """Order a run at once, whatever else runs, and also while the schedule rests."""
    trigger = await _trigger(session, workspace, name, trigger_id)
    ordered = await schedules.order_now(session, trigger, actor=actor)
    return FiredAnswer(run_id=ordered.run_id)


@router.post("/backfill", status_code=202, responses=problems(400, 404, 409, 413))
async def backfill_schedule(
    name: NamePath,
    trigger_id: TriggerPath,
    body: BackfillInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> BackfillAnswer:
    """Order a run for each due time of the past that has none, whatever else runs."""
    trigger = await _trigger(session, workspace, name, trigger_id)
    filled = await schedules.backfill(session, trigger, body.from_, body.to, actor=actor)
    return BackfillAnswer(
        items=[
            FilledTime(time=each.due, run_id=each.run_id, created=each.created) for each in filled
        ],
        created=sum(each.created for each in filled),
    )


async def _trigger(session: AsyncSession, workspace: str, name: str, trigger_id: str) -> Trigger:
    await definitions.get(session, workspace, name)
    return await triggers.get(session, workspace, name, trigger_id)
