"""The switches of people's, programs' and forms' starts, and the triggers that forms show as."""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db import definitions
from db.base import now
from db.definitions import Version
from db.trigger_table import Trigger, TriggerKind
from schemas.errors import ConflictError

# A busy switch's row is written once in this time, so that starts need not queue for it.
_NOTED_EVERY = timedelta(seconds=1)
_FORM = Trigger.config["form"].astext


@dataclass(frozen=True)
class Gate:
    """Through which kind of trigger a start comes, and through which form."""

    kind: TriggerKind
    form: str | None = None


async def get_version(
    session: AsyncSession, workspace: str, definition: str, version: int | None, gate: Gate
) -> Version:
    """Return a version for a start that comes through `gate`, and note that it came.

    Raises NotFoundError, and ConflictError when the trigger is disabled. Without such a trigger
    every start goes through. One statement with the version's, since every start asks.
    """
    here = sa.and_(
        col(Trigger.workspace) == workspace,
        col(Trigger.definition) == definition,
        col(Trigger.kind) == gate.kind,
        *(() if gate.form is None else (gate.form == _FORM,)),
    )
    statement = (
        definitions.select_version(workspace, definition, version)
        .add_columns(Trigger.id, Trigger.enabled, Trigger.last_fired_at)
        .outerjoin(Trigger, here)
    )
    found = (await session.exec(statement)).first()
    row = definitions.found_version(definition, version, found)
    trigger_id, enabled, last_fired_at = found[2:]
    if trigger_id is None:
        return row
    if not enabled:
        form = gate.form
        what = (
            f"submissions of the form {form!r}" if form else f"starts of kind {gate.kind.value!r}"
        )
        raise ConflictError(
            f"{what} are disabled for {definition!r}",
            hint=f"POST /api/v1/definitions/{definition}/triggers/{trigger_id}/enable",
        )
    moment = now()
    if last_fired_at is None or last_fired_at < moment - _NOTED_EVERY:
        noting = (
            sa.update(Trigger)
            .where(col(Trigger.id) == trigger_id)
            .values(last_fired_at=moment)
            .execution_options(synchronize_session=False)
        )
        await session.exec(noting)
    return row


async def link_form(
    session: AsyncSession, workspace: str, form: str, definition: str, *, enabled: bool = True
) -> None:
    """Show a form among the triggers of the definition that it starts, and of no other.

    `enabled` is for a trigger that is new; one that is there stays as it is.
    """
    await unlink_form(session, workspace, form, keep=definition)
    row = Trigger(
        workspace=workspace,
        definition=definition,
        kind=TriggerKind.FORM,
        config={"form": form},
        enabled=enabled,
    )
    await session.exec(insert(Trigger).values(row.model_dump()).on_conflict_do_nothing())


async def unlink_form(
    session: AsyncSession, workspace: str, form: str, *, keep: str | None = None
) -> None:
    """Take a form's trigger away, except from the definition `keep`."""
    statement = (
        sa.delete(Trigger)
        .where(
            col(Trigger.workspace) == workspace,
            col(Trigger.kind) == TriggerKind.FORM,
            form == _FORM,
        )
        .execution_options(synchronize_session=False)
    )
    if keep is not None:
        statement = statement.where(col(Trigger.definition) != keep)
    await session.exec(statement)
