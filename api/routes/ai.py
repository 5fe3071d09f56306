"""/ai: what AI steps cost, the workspace's daily budget, and the circuits of providers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel.ext.asyncio.session import AsyncSession

from api.dependencies import ActorDep, ConfigDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.ai import (
    BudgetInput,
    BudgetView,
    CircuitView,
    RunUsage,
    UsageReport,
    figures,
    total,
)
from api.models.common import RunPath
from db import ai_breakers, ai_budgets, ai_ledger, ai_reports, audit_hashes, runs
from db.ai_budgets import AiBudget
from db.ai_ledger import Allowance
from db.ai_reports import GroupBy
from db.base import now
from schemas.definition import DefinitionName
from schemas.errors import InputError

router = APIRouter(tags=["ai"])


@router.get("/ai/usage", responses=problems())
async def get_ai_usage(
    session: SessionDep,
    workspace: WorkspaceDep,
    group_by: Annotated[GroupBy, Query()] = "day",
    definition: Annotated[DefinitionName | None, Query()] = None,
    since: Annotated[datetime | None, Query(alias="from", description="included")] = None,
    until: Annotated[datetime | None, Query(alias="to", description="not included")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="groups")] = 100,
) -> UsageReport:
    """Calls, tokens and cost of AI steps, in groups; without `from` of the last 30 days."""
    for name, moment in (("from", since), ("to", until)):
        if moment is not None and moment.tzinfo is None:
            raise InputError(f"{name!r} needs a time zone", hint="2026-01-31T12:00:00Z")
    rows = await ai_reports.sums(
        session,
        workspace,
        group_by,
        since=since or now() - timedelta(days=30),
        until=until,
        definition=definition,
        limit=limit,
    )
    return UsageReport(group_by=group_by, items=[figures(row) for row in rows])


@router.get("/runs/{run_id}/ai-usage", responses=problems(404))
async def get_run_ai_usage(
    run_id: RunPath, session: SessionDep, workspace: WorkspaceDep
) -> RunUsage:
    """What each AI step of a run has cost, and what its budget has left."""
    await runs.get(session, workspace, run_id)
    rows = await ai_reports.of_run(session, workspace, run_id)
    budget = await ai_budgets.of_run(session, workspace, run_id)
    used = await ai_ledger.spent(session, workspace, ai_ledger.run_scope(budget.run_id))
    limit = budget.allowance
    return RunUsage(
        run_id=run_id,
        total=total(rows),
        steps=[figures(row) for row in rows],
        budget_usd=None if limit.usd is None else float(limit.usd),
        budget_tokens=limit.tokens,
        used_usd=float(used.usd),
        used_tokens=used.tokens,
    )


@router.get("/ai/budget", responses=problems())
async def get_ai_budget(
    session: SessionDep, workspace: WorkspaceDep, config: ConfigDep
) -> BudgetView:
    """What the workspace may spend on AI today (UTC), and has spent."""
    return await _budget(session, workspace, config.ai_daily)


@router.put("/ai/budget", responses=problems(400, 413))
async def put_ai_budget(
    body: BudgetInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    config: ConfigDep,
) -> BudgetView:
    """Set the workspace's daily budget; it holds from the next call on."""
    usd = None if body.daily_usd is None else Decimal(str(body.daily_usd))
    async with audit_hashes.changing(
        session,
        workspace,
        AiBudget,
        {"workspace": workspace},
        actor=actor,
        action="ai_budget.put",
        subject=workspace,
        data=body.model_dump(),
    ):
        await ai_budgets.put(session, workspace, daily_usd=usd, daily_tokens=body.daily_tokens)
    return await _budget(session, workspace, config.ai_daily)


@router.delete("/ai/budget", status_code=204, responses=problems())
async def delete_ai_budget(session: SessionDep, workspace: WorkspaceDep, actor: ActorDep) -> None:
    """Go back to the budget of the settings."""
    key = {"workspace": workspace}
    async with audit_hashes.changing(
        session, workspace, AiBudget, key, actor=actor, action="ai_budget.delete", subject=workspace
    ):
        await ai_budgets.delete(session, workspace)


@router.get("/ai/circuits", responses=problems())
async def list_ai_circuits(session: SessionDep, workspace: WorkspaceDep) -> list[CircuitView]:
    """The circuit breakers of providers that have failed before."""
    rows = await ai_breakers.list_all(session, workspace)
    return [
        CircuitView.model_validate(row.model_dump(include=set(CircuitView.model_fields)))
        for row in rows
    ]


async def _budget(session: AsyncSession, workspace: str, default: Allowance) -> BudgetView:
    own = await ai_budgets.stored(session, workspace)
    usd = default.usd if own is None else own.daily_usd
    present = now()
    used = await ai_ledger.spent(session, workspace, ai_ledger.day_scope(present))
    midnight = datetime(present.year, present.month, present.day, tzinfo=UTC) + timedelta(days=1)
    return BudgetView(
        daily_usd=None if usd is None else float(usd),
        daily_tokens=default.tokens if own is None else own.daily_tokens,
        source="settings" if own is None else "api",
        used_usd=float(used.usd),
        used_tokens=used.tokens,
        resets_at=midnight,
    )
