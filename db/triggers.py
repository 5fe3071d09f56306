"""Triggers: what starts runs of a definition by itself."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit, definitions, idempotency, runs
from db.base import clean_text, now
from db.ids import new_id
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.trigger_table import Trigger, TriggerKind
from schemas import expressions
from schemas.errors import ExpressionError, NotFoundError, SojournError
from schemas.events import view
from schemas.run import MAX_INPUT_BYTES, Event
from schemas.validation import check_input, check_size

__all__ = [
    "Trigger",
    "TriggerKind",
    "add",
    "delete",
    "fire",
    "get",
    "list_page",
    "replace",
]

# A busy trigger's row is written once in this time, so that its events need not queue for it.
_NOTED_EVERY = timedelta(seconds=1)


async def add(
    session: AsyncSession,
    workspace: str,
    definition: str,
    *,
    event_type: str,
    where: str | None,
    input: dict[str, Any],
    enabled: bool = True,
) -> Trigger:
    """Store an event trigger; raises NotFoundError (DEFINITION_NOT_FOUND)."""
    await definitions.get(session, workspace, definition)
    row = Trigger(
        workspace=workspace,
        definition=definition,
        event_type=event_type,
        where=where,
        input=input,
        enabled=enabled,
    )
    session.add(row)
    await session.flush()
    return row


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
    session: AsyncSession,
    workspace: str,
    definition: str,
    trigger_id: str,
    *,
    event_type: str,
    where: str | None,
    input: dict[str, Any],
    enabled: bool,
) -> Trigger:
    """Change an event trigger; raises NotFoundError."""
    row = await get(session, workspace, definition, trigger_id)
    row.event_type, row.where, row.input, row.enabled = event_type, where, input, enabled
    row.updated_at, row.last_error = now(), None
    session.add(row)
    await session.flush()
    return row


async def delete(session: AsyncSession, workspace: str, definition: str, trigger_id: str) -> None:
    """Delete a trigger; the runs that it has started go on. Raises NotFoundError."""
    await session.delete(await get(session, workspace, definition, trigger_id))
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
        .order_by(col(Trigger.id))
    )
    ordered: list[str] = []
    for trigger in (await session.exec(statement)).all():
        error: str | None = None
        try:
            run_id = await _order(session, trigger, event, correlation_id)
        except SojournError as fault:
            run_id, error = None, clean_text(f"{fault.code}: {fault.message}"[:1000])
        if run_id is not None:
            ordered.append(run_id)
        if run_id is not None or error is not None:
            await _note(session, trigger, error)
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
    check_size(given, MAX_INPUT_BYTES, "the input")
    version = await definitions.get_version(session, trigger.workspace, trigger.definition)
    check_input(version.document.get("input") or {"type": "object"}, given)
    run_id = new_id()
    key = f"trigger/{trigger.id}/{event.source}/{event.id}"
    mark = idempotency.fingerprint("trigger", trigger.id, event.source, event.id)
    holder = await idempotency.claim(session, trigger.workspace, key, mark, run_id)
    if holder != run_id:
        return None
    audit.add(
        session,
        trigger.workspace,
        actor=f"trigger:{trigger.id}",
        action="run.start",
        subject=run_id,
    )
    await runs.insert_queued(
        session,
        trigger.workspace,
        run_id=run_id,
        definition=trigger.definition,
        version=version.version,
        input=given,
        priority=version.document.get("priority", 3),
        correlation_id=correlation_id,
        trigger_id=trigger.id,
    )
    return run_id


async def _note(session: AsyncSession, trigger: Trigger, error: str | None) -> None:
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


async def ordered_runs(
    session: AsyncSession, workspace: str, *, again_after: timedelta, limit: int = 100
) -> Sequence[str]:
    """Take the ids of runs that triggers ordered and nobody has started; the oldest first.

    A run is given again when it was not started within `again_after`.
    """
    statement = (
        select(runs.Run.id)
        .where(
            runs.Run.workspace == workspace,
            col(runs.Run.trigger_id).is_not(None),
            runs.Run.status == "queued",
            col(runs.Run.temporal_run_id).is_(None),
            sa.or_(
                col(runs.Run.checked_at) == col(runs.Run.created_at),
                col(runs.Run.checked_at) < now() - again_after,
            ),
        )
        .order_by(col(runs.Run.created_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = list((await session.exec(statement)).all())
    await runs.mark_checked(session, found)
    return found
