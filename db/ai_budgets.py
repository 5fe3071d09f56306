"""AI budgets: what a workspace may spend a day, and what a run's definition lets it spend."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.ai_ledger import USD, Allowance
from db.base import now
from schemas.policies import Limits


class AiBudget(SQLModel, table=True):
    """The daily budget of a workspace; where there is a row the settings do not count."""

    __tablename__ = "ai_budgets"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    daily_usd: Decimal | None = Field(default=None, sa_type=USD)
    daily_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    updated_at: datetime = Field(default_factory=now)


class RunBudget(BaseModel):
    """Whose budget a call of a run counts against, and how much it is.

    A batch of a loop is a run of its own, but its calls are the run's above. `above` are the runs
    that wait for this one, the nearest first: the call counts against their budgets, too.
    """

    run_id: str
    allowance: Allowance = Allowance()
    above: list["RunBudget"] = Field(default_factory=list)

    @property
    def chain(self) -> list["RunBudget"]:
        """All budgets that a call counts against, the run's own first."""
        return [self, *self.above]


# A batch's path ends with the place of its first item; any other run's with the step's id.
_OF_RUN = sa.text("""
WITH RECURSIVE above AS (
    SELECT id, parent_run_id, parent_path, detached, definition, version, 0 AS depth
    FROM runs WHERE id = :run_id AND workspace = :workspace
    UNION ALL
    SELECT runs.id, runs.parent_run_id, runs.parent_path, runs.detached, runs.definition,
        runs.version, depth + 1
    FROM runs JOIN above ON runs.id = above.parent_run_id
    WHERE NOT above.detached AND depth < 64
)
SELECT above.id, above.parent_path LIKE '%]' AS batch,
    definition_versions.document -> 'limits' AS limits
FROM above
LEFT JOIN definitions ON definitions.workspace = :workspace
    AND definitions.name = above.definition
LEFT JOIN definition_versions ON definition_versions.definition_id = definitions.id
    AND definition_versions.version = above.version
ORDER BY depth
""").columns(
    sa.column("id", sa.String), sa.column("batch", sa.Boolean), sa.column("limits", sa.JSON)
)


async def of_run(session: AsyncSession, workspace: str, run_id: str) -> RunBudget:
    """Return a run's budget with those above, each from the version that its run runs.

    An unknown run has none. The run above a batch may have been pruned: then the batch's counts.
    """
    values = {"run_id": run_id, "workspace": workspace}
    rows = (await (await session.connection()).execute(_OF_RUN, values)).all()
    found: list[RunBudget] = []
    for at, row in enumerate(rows):
        if row.batch and at + 1 < len(rows):
            continue
        limits = Limits.model_validate(row.limits or {})
        usd = None if limits.ai_budget is None else Decimal(str(limits.ai_budget))
        allowance = Allowance(usd=usd, tokens=limits.ai_tokens)
        found.append(RunBudget(run_id=row.id, allowance=allowance))
    if not found:
        return RunBudget(run_id=run_id)
    found[0].above = found[1:]
    return found[0]


async def stored(session: AsyncSession, workspace: str) -> AiBudget | None:
    """Return the budget that was set through the API, if any."""
    return (await session.exec(select(AiBudget).where(AiBudget.workspace == workspace))).first()


async def put(
    session: AsyncSession, workspace: str, *, daily_usd: Decimal | None, daily_tokens: int | None
) -> AiBudget:
    """Set the daily budget of a workspace; None is without limit."""
    row = AiBudget(workspace=workspace, daily_usd=daily_usd, daily_tokens=daily_tokens)
    inserting = insert(AiBudget).values(row.model_dump())
    changed = {name: inserting.excluded[name] for name in AiBudget.model_fields}
    await session.exec(inserting.on_conflict_do_update(index_elements=["workspace"], set_=changed))
    return row


async def delete(session: AsyncSession, workspace: str) -> None:
    """Remove the budget that was set through the API: the settings count again."""
    await session.exec(sa.delete(AiBudget).where(col(AiBudget.workspace) == workspace))
