"""Ordering the runs of schedules: for each due time one run at most, whoever asks and how often."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import idempotency, runs, triggers
from db.base import clean_text, now
from db.idempotency import IdempotencyKey
from db.ordering import Ordered, order_run
from db.run_table import OPEN, Run
from db.schedule_table import ScheduleState
from db.trigger_table import Trigger, TriggerKind
from schemas import expressions
from schemas.due_times import due_times, is_due, next_due
from schemas.errors import InputError, LimitError, SojournError, UnavailableError
from schemas.run import RunStatus
from schemas.schedules import (
    Overlap,
    SlotAnswer,
    SlotCall,
    SlotOutcome,
    schedule_view,
)
from schemas.triggers import ScheduledTrigger

MAX_BACKFILL = 500
# Due times come in whole seconds; Temporal starts a gate some milliseconds later.
_PROMPT = timedelta(seconds=5)


@dataclass(frozen=True)
class Decision:
    """What became of a due time; `cancel` are the workflow ids of runs that its run replaces."""

    answer: SlotAnswer
    cancel: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Filled:
    """A due time that a backfill has ordered; `created` is false when it had its run before."""

    due: datetime
    run_id: str
    created: bool


def config_of(trigger: Trigger) -> ScheduledTrigger:
    """Give what a schedule trigger says; raises InputError for a trigger of another kind."""
    given = triggers.given_of(trigger)
    if not isinstance(given, ScheduledTrigger):
        raise InputError(
            f"the trigger is of kind {trigger.kind.value!r}",
            hint="only triggers of kind 'schedule' have times",
        )
    return given


def is_resting(config: ScheduledTrigger) -> bool:
    """Tell if a schedule is paused or its trigger disabled."""
    return config.paused or not config.enabled


async def set_paused(session: AsyncSession, trigger: Trigger, *, paused: bool) -> Trigger:
    """Pause a schedule or let it go on; raises InputError for a trigger of another kind."""
    config = config_of(trigger)
    if config.paused == paused:
        return trigger
    changed = config.model_copy(update={"paused": paused})
    return await triggers.replace(
        session, trigger.workspace, trigger.definition, trigger.id, changed
    )


async def order_due(session: AsyncSession, call: SlotCall) -> Decision:
    """Order the run of a due time, as the trigger is now and its overlap policy allows.

    The same due time again gives the run that it has. What cannot start is noted on the trigger.
    Raises UnavailableError: the caller asks again.
    """
    statement = select(Trigger).where(
        Trigger.id == call.trigger_id,
        Trigger.workspace == call.workspace,
        Trigger.kind == TriggerKind.SCHEDULE,
    )
    trigger = (await session.exec(statement)).first()
    if trigger is None:
        return _nothing(SlotOutcome.RESTING, "the trigger was deleted")
    config = config_of(trigger)
    if is_resting(config):
        return _nothing(SlotOutcome.RESTING, "the trigger is paused or disabled")
    if not is_due(config, call.due):
        return _nothing(SlotOutcome.NOT_DUE, "the schedule's zone has no such due time")
    if _is_late(config, call, now()):
        message = f"what was due at {call.due.isoformat()} came after {config.catchup}"
        await triggers.note(session, trigger, message)
        return _nothing(SlotOutcome.LATE, message)
    state = await _locked(session, trigger)
    held = await _run_of(session, trigger, config, call.due)
    if held is None and config.overlap is Overlap.CANCEL_OTHER:
        await _withdraw_waiting(session, trigger)
    others = await _open_runs(session, trigger.id)
    if held is not None:
        answer = SlotAnswer(outcome=SlotOutcome.DUPLICATE, run_id=held)
        ids = sorted(others)
        # An attempt that was cut off after its commit has still to cancel.
        earlier = [others[one] for one in ids[: ids.index(held)]] if held in others else []
        return Decision(answer, earlier if config.overlap is Overlap.CANCEL_OTHER else [])
    if others and config.overlap is Overlap.SKIP:
        return _nothing(SlotOutcome.SKIPPED, f"run {min(others)} is still open")
    if others and config.overlap is Overlap.BUFFER_ONE:
        if state.buffered_for not in (None, call.due):
            return _nothing(SlotOutcome.SKIPPED, "another due time waits already")
        state.buffered_for = call.due
        session.add(state)
        return _nothing(SlotOutcome.BUFFERED, f"waits for the end of run {min(others)}")
    answer = await _order(session, trigger, config, call.due)
    replaces = config.overlap is Overlap.CANCEL_OTHER and answer.outcome is SlotOutcome.ORDERED
    return Decision(answer, [others[one] for one in sorted(others)] if replaces else [])


async def order_buffered(session: AsyncSession, workspace: str) -> int:
    """Order the due times that wait and whose triggers have no open run; gives how many."""
    busy = sa.exists().where(
        col(Run.trigger_id) == col(ScheduleState.trigger_id), col(Run.status).in_(OPEN)
    )
    statement = (
        select(ScheduleState, Trigger)
        .join(Trigger, col(Trigger.id) == col(ScheduleState.trigger_id))
        .where(
            ScheduleState.workspace == workspace,
            col(ScheduleState.buffered_for).is_not(None),
            ~busy,
        )
        .limit(100)
        .with_for_update(skip_locked=True, of=ScheduleState)
    )
    ordered = 0
    for state, trigger in (await session.exec(statement)).all():
        due, state.buffered_for = state.buffered_for, None
        session.add(state)
        config = config_of(trigger)
        if due is not None and not is_resting(config):
            answer = await _order(session, trigger, config, due)
            ordered += answer.outcome is SlotOutcome.ORDERED
    return ordered


async def order_now(session: AsyncSession, trigger: Trigger, *, actor: str) -> Ordered:
    """Order a run at once, whatever else runs, and also while the trigger rests.

    Raises what `order_run` does, and ExpressionError when the input cannot be made.
    """
    config = config_of(trigger)
    view = schedule_view(trigger.id, config, now().replace(microsecond=0))
    return await order_run(
        session,
        trigger.workspace,
        definition=trigger.definition,
        input=expressions.render(trigger.input, {"schedule": view}),
        trigger_id=trigger.id,
        actor=actor,
    )


async def backfill(
    session: AsyncSession, trigger: Trigger, begin: datetime, end: datetime, *, actor: str
) -> list[Filled]:
    """Order a run for every due time in [begin, end] that has none yet, whatever else runs.

    Raises InputError for an end in the future, LimitError above `MAX_BACKFILL` due times, and
    what `order_run` does.
    """
    if end > now():
        raise InputError("a backfill ends in the past", hint="let the schedule do what is to come")
    config = config_of(trigger)
    times = due_times(config, begin - timedelta(microseconds=1), end)
    found = [due.time for due in islice(times, MAX_BACKFILL + 1)]
    if len(found) > MAX_BACKFILL:
        raise LimitError(
            f"more than {MAX_BACKFILL} times were due", hint="fill a shorter time at once"
        )
    await _locked(session, trigger)
    filled: list[Filled] = []
    for due in found:
        ordered = await _order_run(session, trigger, config, due, actor=actor)
        filled.append(Filled(due, ordered.run_id, ordered.created))
    return filled


def _nothing(outcome: SlotOutcome, message: str) -> Decision:
    return Decision(SlotAnswer(outcome=outcome, message=message))


def _is_late(config: ScheduledTrigger, call: SlotCall, moment: datetime) -> bool:
    """Tell if a due time is past catching up.

    Temporal starts no gate later than that, except for a backfill from its own tools: there the
    time counts from the gate's start.
    """
    window = config.catchup + config.jitter + _PROMPT
    by_hand = call.gate_started - call.due > window
    return moment - (call.gate_started if by_hand else call.due) > window


async def _locked(session: AsyncSession, trigger: Trigger) -> ScheduleState:
    """Lock the schedule's row, made if it is missing, until the transaction ends."""
    made = insert(ScheduleState).values(
        trigger_id=trigger.id, workspace=trigger.workspace, definition=trigger.definition
    )
    await session.exec(made.on_conflict_do_nothing())
    statement = (
        select(ScheduleState).where(ScheduleState.trigger_id == trigger.id).with_for_update()
    )
    return (await session.exec(statement)).one()


def _key(trigger: Trigger, config: ScheduledTrigger, due: datetime) -> str:
    return f"schedule/{trigger.id}/{config.slot(due)}"


async def _run_of(
    session: AsyncSession, trigger: Trigger, config: ScheduledTrigger, due: datetime
) -> str | None:
    statement = select(IdempotencyKey.run_id).where(
        IdempotencyKey.workspace == trigger.workspace,
        IdempotencyKey.key == _key(trigger, config, due),
    )
    return (await session.exec(statement)).first()


async def _open_runs(session: AsyncSession, trigger_id: str) -> dict[str, str]:
    """Map the open runs of a trigger to their workflow ids; ids grow with time."""
    statement = select(Run.id, Run.workflow_id).where(
        Run.trigger_id == trigger_id, col(Run.status).in_(OPEN)
    )
    return dict((await session.exec(statement)).all())


async def _withdraw_waiting(session: AsyncSession, trigger: Trigger) -> None:
    """End the trigger's runs that flow control has not let start: Temporal will never see them."""
    statement = (
        select(Run.id)
        .where(
            Run.trigger_id == trigger.id,
            Run.status == RunStatus.QUEUED,
            col(Run.admitted_at).is_(None),
            col(Run.temporal_run_id).is_(None),
        )
        # One that is being let start just now is left to be cancelled in Temporal.
        .with_for_update()
    )
    for run_id in (await session.exec(statement)).all():
        await runs.close(session, trigger.workspace, run_id, RunStatus.CANCELLED)


async def _order(
    session: AsyncSession, trigger: Trigger, config: ScheduledTrigger, due: datetime
) -> SlotAnswer:
    try:
        ordered = await _order_run(session, trigger, config, due, actor=f"trigger:{trigger.id}")
    except UnavailableError:
        raise
    except SojournError as error:
        message = clean_text(f"{error.code}: {error.message}"[:1000])
        await triggers.note(session, trigger, message)
        return SlotAnswer(outcome=SlotOutcome.FAILED, message=message)
    await triggers.note(session, trigger, None)
    await _note_next(session, trigger, config)
    outcome = SlotOutcome.ORDERED if ordered.created else SlotOutcome.DUPLICATE
    return SlotAnswer(outcome=outcome, run_id=ordered.run_id)


async def _order_run(
    session: AsyncSession, trigger: Trigger, config: ScheduledTrigger, due: datetime, *, actor: str
) -> Ordered:
    view = schedule_view(trigger.id, config, due)
    return await order_run(
        session,
        trigger.workspace,
        definition=trigger.definition,
        input=expressions.render(trigger.input, {"schedule": view}),
        key=_key(trigger, config, due),
        fingerprint=idempotency.fingerprint("schedule", trigger.id, config.slot(due)),
        trigger_id=trigger.id,
        actor=actor,
    )


async def _note_next(session: AsyncSession, trigger: Trigger, config: ScheduledTrigger) -> None:
    statement = (
        sa.update(Trigger)
        .where(col(Trigger.id) == trigger.id)
        .values(next_due_at=next_due(config, now()))
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
