"""The switches of people's, programs' and forms' starts, and the triggers that forms show as."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.trigger_table import Trigger, TriggerKind
from schemas.errors import ConflictError

# A busy switch's row is written once in this time, so that starts need not queue for it.
_NOTED_EVERY = timedelta(seconds=1)
_FORM = Trigger.config["form"].astext


async def pass_gate(
    session: AsyncSession,
    workspace: str,
    definition: str,
    kind: TriggerKind,
    *,
    form: str | None = None,
) -> None:
    """Let a start through, and note it; raises ConflictError when its trigger is disabled.

    Without such a trigger there is no switch, and every start goes through.
    """
    statement = select(Trigger.id, Trigger.enabled, Trigger.last_fired_at).where(
        Trigger.workspace == workspace, Trigger.definition == definition, Trigger.kind == kind
    )
    if form is not None:
        statement = statement.where(form == _FORM)
    found = (await session.exec(statement)).first()
    if found is None:
        return
    trigger_id, enabled, last_fired_at = found
    if not enabled:
        what = f"submissions of the form {form!r}" if form else f"starts of kind {kind.value!r}"
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


async def link_form(session: AsyncSession, workspace: str, form: str, definition: str) -> None:
    """Show a form among the triggers of the definition that it starts, and of no other."""
    await unlink_form(session, workspace, form, keep=definition)
    row = Trigger(
        workspace=workspace, definition=definition, kind=TriggerKind.FORM, config={"form": form}
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
