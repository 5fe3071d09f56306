"""Triggers: what starts runs of a definition by itself."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import definitions, idempotency
from db.base import clean_text, now
from db.ordering import order_run
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.trigger_table import Trigger, TriggerKind
from schemas import expressions
from schemas.due_times import next_due
from schemas.errors import (
    ConflictError,
    ExpressionError,
    NotFoundError,
    SojournError,
    UnavailableError,
)
from schemas.events import view
from schemas.run import Event
from schemas.triggers import FormTrigger, ScheduledTrigger, TriggerInput

__all__ = [
    "Trigger",
    "TriggerKind",
    "add",
    "columns_of",
    "delete",
    "fire",
    "get",
    "given_of",
    "list_page",
    "note",
    "replace",
    "switch",
]

_MAPPED = (TriggerKind.EVENT, TriggerKind.SCHEDULE, TriggerKind.WEBHOOK)
_given: TypeAdapter[TriggerInput] = TypeAdapter(TriggerInput)

# A busy trigger's row is written once in this time, so that its events need not queue for it.
_NOTED_EVERY = timedelta(seconds=1)


async def add(
    session: AsyncSession,
    workspace: str,
    definition: str,
    given: TriggerInput,
    *,
    token_hash: str | None = None,
) -> Trigger:
    """Store a trigger; raises NotFoundError (DEFINITION_NOT_FOUND).

    ConflictError if the definition has its one switch of kind `manual` or `api`, or the form its
    trigger, already.
    """
    await definitions.get(session, workspace, definition)
    row = Trigger(
        workspace=workspace,
        definition=definition,
        kind=TriggerKind(given.kind),
        token_hash=token_hash,
        **columns_of(given),
    )
    statement = insert(Trigger).values(row.model_dump()).on_conflict_do_nothing().returning(Trigger)
    stored = (await session.exec(statement)).scalars().first()
    if stored is None:
        raise ConflictError(
            f"there is such a trigger of kind {given.kind!r} already",
            hint="enable, disable or change the one that is there",
        )
    return stored


def columns_of(given: TriggerInput) -> dict[str, Any]:
    """Give the columns of what a trigger says; `given_of` turns them back."""
    values = given.model_dump(mode="json", exclude={"kind"})
    return {
        "enabled": values.pop("enabled"),
        "event_type": values.pop("event", None),
        "where": values.pop("where", None),
        "input": values.pop("input", {}),
        "config": values,
        "next_due_at": _next_due(given),
    }


def _next_due(given: TriggerInput) -> datetime | None:
    if not isinstance(given, ScheduledTrigger) or given.paused or not given.enabled:
        return None
    return next_due(given, now())


def given_of(row: Trigger) -> TriggerInput:
    """Give what a stored trigger says."""
    given = {**row.config, "kind": row.kind.value, "enabled": row.enabled}
    if row.kind in _MAPPED:
        given["input"] = row.input
    if row.where is not None:
        given["where"] = row.where
    if row.event_type is not None:
        given["event"] = row.event_type
    return _given.validate_python(given)


async def get(session: AsyncSession, workspace: str, definition: str, trigger_id: str) -> Trigger:
    """Return a trigger of a definition; raises NotFoundError."""
    statement = select(Trigger).where(
        Trigger.id == trigger_id, Trigger.workspace == workspace, Trigger.definition == definition
    )
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError(f"{definition!r} has no trigger {trigger_id!r}")
    return found


async def replace(
    session: AsyncSession, workspace: str, definition: str, trigger_id: str, given: TriggerInput
) -> Trigger:
    """Change a trigger; raises NotFoundError, and ConflictError when its kind would change."""
    row = await get(session, workspace, definition, trigger_id)
    if row.kind != given.kind:
        raise ConflictError(
            f"the trigger is of kind {row.kind.value!r}, which cannot change",
            hint="delete it and add another",
        )
    if isinstance(given, FormTrigger) and row.config != {"form": given.form}:
        raise ConflictError(
            f"the trigger is of the form {row.config['form']!r}, which cannot change",
            hint="change the form's definition: its trigger follows",
        )
    for name, value in columns_of(given).items():
        setattr(row, name, value)
    row.updated_at, row.last_error = now(), None
    session.add(row)
    await session.flush()
    return row


async def switch(
    session: AsyncSession, workspace: str, definition: str, trigger_id: str, *, enabled: bool
) -> Trigger:
    """Enable or disable a trigger; raises NotFoundError."""
    row = await get(session, workspace, definition, trigger_id)
    if row.enabled != enabled:
        row.enabled, row.updated_at = enabled, now()
        row.next_due_at = _next_due(given_of(row))
        session.add(row)
        await session.flush()
    return row


async def delete(session: AsyncSession, workspace: str, definition: str, trigger_id: str) -> None:
    """Delete a trigger; the runs that it has started go on.

    Raises NotFoundError, and ConflictError for a form's: without it the form would start runs
    just the same.
    """
    row = await get(session, workspace, definition, trigger_id)
    if row.kind is TriggerKind.FORM:
        raise ConflictError(
            "the trigger belongs to a form", hint="disable it, or delete the form itself"
        )
    await session.delete(row)
    await session.flush()


async def list_page(
    session: AsyncSession,
    workspace: str,
    definition: str,
    *,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[Trigger]:
    """Return a page of a definition's triggers, newest first; raises NotFoundError, InputError."""
    await definitions.get(session, workspace, definition)
    statement = select(Trigger).where(
        Trigger.workspace == workspace, Trigger.definition == definition
    )
    if cursor is not None:
        place = sa.tuple_(col(Trigger.created_at), col(Trigger.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(col(Trigger.created_at).desc(), col(Trigger.id).desc())
    return cut((await session.exec(statement.limit(page_size(limit) + 1))).all(), limit)


async def fire(
    session: AsyncSession, workspace: str, event: Event, *, correlation_id: str | None = None
) -> list[str]:
    """Order a run for every trigger that the event fires, once for event and trigger.

    Gives the ids of the runs: rows that are queued until the API starts them. A trigger that
    fails (its `where`, its input) keeps the reason in `last_error`; the others fire all the same.
    """
    statement = (
        select(Trigger)
        .where(
            Trigger.workspace == workspace,
            Trigger.kind == TriggerKind.EVENT,
            Trigger.event_type == event.type,
            col(Trigger.enabled),
        )
        # Flow control locks definitions: always in one order, or two events could wait for each
        # other.
        .order_by(col(Trigger.definition), col(Trigger.id))
    )
    ordered: list[str] = []
    for trigger in (await session.exec(statement)).all():
        error: str | None = None
        try:
            run_id = await _order(session, trigger, event, correlation_id)
        except UnavailableError:
            raise
        except SojournError as fault:
            run_id, error = None, clean_text(f"{fault.code}: {fault.message}"[:1000])
        if run_id is not None:
            ordered.append(run_id)
        if run_id is not None or error is not None:
            await note(session, trigger, error)
    return ordered


async def _order(
    session: AsyncSession, trigger: Trigger, event: Event, correlation_id: str | None
) -> str | None:
    names = {"event": view(event)}
    if trigger.where is not None:
        verdict = expressions.evaluate(trigger.where, names)
        if not isinstance(verdict, bool):
            raise ExpressionError(f"'where' gives {verdict!r}, not true or false")
        if not verdict:
            return None
    given: dict[str, Any] = expressions.render(trigger.input, names)
    ordered = await order_run(
        session,
        trigger.workspace,
        definition=trigger.definition,
        input=given,
        key=f"trigger/{trigger.id}/{event.source}/{event.id}",
        fingerprint=idempotency.fingerprint("trigger", trigger.id, event.source, event.id),
        trigger_id=trigger.id,
        correlation_id=correlation_id,
    )
    return ordered.run_id if ordered.created else None


async def note(session: AsyncSession, trigger: Trigger, error: str | None) -> None:
    """Note that a trigger fired, or why it did not; at most about once a second the same."""
    moment = now()
    fresh = sa.and_(
        col(Trigger.last_fired_at) > moment - _NOTED_EVERY,
        col(Trigger.last_error).is_not_distinct_from(error),
    )
    values: dict[str, Any] = {"last_error": error}
    if error is None:
        values["last_fired_at"] = moment
    statement = (
        sa.update(Trigger)
        .where(col(Trigger.id) == trigger.id, sa.not_(sa.func.coalesce(fresh, sa.false())))
        .values(values)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
