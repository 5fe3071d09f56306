"""Approvals as the projection has them: steps of the type `approval`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.run_steps import RunStep
from db.run_table import OPEN, Run
from schemas.run import StepStatus


@dataclass(frozen=True)
class Approval:
    """An approval's step and its run's definition; `id` orders those of the same moment."""

    step: RunStep
    definition: str
    created_at: datetime
    id: str


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    assignee: str | None = None,
    status: Sequence[StepStatus] = (StepStatus.WAITING,),
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[Approval]:
    """Approvals by status, the latest first; those that wait belong to open runs.

    One that is held after an error waits for an operator, not for its assignees, and is left out.
    """
    key = sa.func.concat(col(RunStep.run_id), " ", col(RunStep.path))
    statement = (
        select(RunStep, Run.definition)
        .join(Run, col(Run.id) == col(RunStep.run_id))
        .where(
            RunStep.workspace == workspace,
            RunStep.type == "approval",
            col(RunStep.status).in_(status),
            col(RunStep.started_at).is_not(None),
            sa.or_(
                col(RunStep.status) != StepStatus.WAITING,
                sa.and_(col(RunStep.error_code).is_(None), col(Run.status).in_(OPEN)),
            ),
        )
        .order_by(col(RunStep.started_at).desc(), key.desc())
        .limit(page_size(limit) + 1)
    )
    if assignee is not None:
        people = sa.func.json_array_elements_text(
            sa.cast(RunStep.input, sa.JSON)["assignees"]
        ).table_valued("value")
        asked = select(sa.literal(1)).select_from(people).where(people.c.value == assignee)
        statement = statement.where(asked.exists())
    if cursor is not None:
        moment, last = decode_cursor(cursor)
        statement = statement.where(
            sa.tuple_(col(RunStep.started_at), key) < sa.tuple_(sa.literal(moment), last)
        )
    found: list[Approval] = []
    for step, definition in (await session.exec(statement)).all():
        assert step.started_at is not None, "the query asks for those that began"
        found.append(Approval(step, definition, step.started_at, f"{step.run_id} {step.path}"))
    return cut(found, limit)
