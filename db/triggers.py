"""Triggers: what starts runs of a definition by itself."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import definitions, idempotency
from db.base import clean_text, now
from db.ordering import order_run
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.trigger_table import Trigger, TriggerKind
from schemas import expressions
from schemas.errors import ExpressionError, NotFoundError, SojournError, UnavailableError
from schemas.events import view
from schemas.run import Event

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
