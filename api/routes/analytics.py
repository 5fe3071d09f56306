"""/analytics: figures of runs, steps, mails, splits and AI, straight from the tables."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlmodel.ext.asyncio.session import AsyncSession

from api.dependencies import DatabaseDep, WorkspaceDep
from api.errors import problems
from api.models.analytics import (
    AiStatistics,
    DefinitionAnalytics,
    DefinitionStatistics,
    FunnelAnalytics,
    FunnelStage,
    MailStatistics,
    OverviewAnalytics,
    RunStatistics,
    StepsAnalytics,
    StepStatistics,
    VariantsAnalytics,
    VariantStatistics,
    VersionStatistics,
    WaitingAnalytics,
    WaitingStatistics,
    Wakes,
)
from api.models.common import NamePath
from db import analytics, analytics_funnel, analytics_steps, analytics_variants, definitions
from db.analytics import AiFigures, RunFigures, Scope
from db.analytics_steps import StepFigures
from db.analytics_variants import Goal
from schemas.errors import InputError

router = APIRouter(tags=["analytics"], prefix="/analytics")

STEP_ID = r"^[a-z][a-z0-9_]{0,62}$"


async def get_session(database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    """A transaction that sees one moment."""
    async with database.session() as session:
        await analytics.prepare(session)
        yield session


AnalyticsSession = Annotated[AsyncSession, Depends(get_session, scope="function")]
Since = Annotated[
    datetime | None,
    Query(alias="from", description="included; by default the last 30 days (UTC)"),
]
Until = Annotated[datetime | None, Query(alias="to", description="not included")]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="by default all")]


def get_span(since: Since = None, until: Until = None) -> tuple[datetime, datetime | None]:
    """The time asked for; raises InputError without a time zone, or far from any run."""
    for name, moment in (("from", since), ("to", until)):
        if moment is not None and moment.tzinfo is None:
            raise InputError(f"{name!r} needs a time zone", hint="2026-01-31T12:00:00Z")
        if moment is not None and not 1971 <= moment.year <= 9998:
            raise InputError(f"{name!r} must be in the years 1971 to 9998")
    return since or analytics.default_since(), until


SpanDep = Annotated[tuple[datetime, datetime | None], Depends(get_span)]


async def get_scope(
    name: NamePath,
    session: AnalyticsSession,
    workspace: WorkspaceDep,
    span: SpanDep,
    version: Version = None,
) -> Scope:
    """The runs asked for, of a definition that exists."""
    await definitions.get(session, workspace, name)
    limits: dict[str, Any] = {"since": span[0]}
    if span[1] is not None:
        limits["until"] = span[1]
    return Scope(workspace=workspace, definition=name, version=version, **limits)


ScopeDep = Annotated[Scope, Depends(get_scope)]


@router.get("/overview", responses=problems())
async def get_overview(
    session: AnalyticsSession, workspace: WorkspaceDep, span: SpanDep
) -> OverviewAnalytics:
    """The runs of all definitions, and what AI has cost."""
    since, until = span
    found = await analytics.of_definitions(session, workspace, since, until)
    used = await analytics.ai(session, workspace, since, until or Scope.until)
    total = found.pop(None)
    named = [(name, each) for name, each in found.items() if name is not None]
    named.sort(key=lambda item: (-item[1].total, item[0]))
    return OverviewAnalytics.model_validate(
        {
            "from": since,
            "to": until,
            "runs": _runs(total),
            "definitions": [
                DefinitionStatistics(definition=name, **dict(_runs(each))) for name, each in named
            ],
            "ai": _ai(used),
        }
    )


@router.get("/definitions/{name}", responses=problems(404))
async def get_definition_analytics(
    name: NamePath, session: AnalyticsSession, scope: ScopeDep, span: SpanDep
) -> DefinitionAnalytics:
    """Runs by status and version, durations, errors, and what AI has cost."""
    found = await analytics.of_versions(session, scope)
    total = found.pop(None)
    used = await analytics.ai(
        session, scope.workspace, scope.since, scope.until, name, scope.version
    )
    versions = sorted((number, each) for number, each in found.items() if number is not None)
    return DefinitionAnalytics.model_validate(
        {
            "definition": name,
            "version": scope.version,
            "from": span[0],
            "to": span[1],
            "runs": _runs(total),
            "versions": [
                VersionStatistics(version=number, **dict(_runs(each))) for number, each in versions
            ],
            "errors": await analytics.errors(session, scope),
            "ai": _ai(used),
        }
    )


@router.get("/definitions/{name}/steps", responses=problems(404))
async def get_steps_analytics(
    name: NamePath, session: AnalyticsSession, scope: ScopeDep
) -> StepsAnalytics:
    """What began and how it ended, retries and errors, by step."""
    found = await analytics_steps.of_steps(session, scope)
    errors: dict[str, int] = {}
    for each in found:
        for code, count in each.errors.items():
            errors[code] = errors.get(code, 0) + count
    return StepsAnalytics(
        definition=name,
        retries=sum(each.retries for each in found),
        errors=dict(sorted(errors.items(), key=lambda item: (-item[1], item[0]))),
        steps=[_step(each) for each in found],
    )


@router.get("/definitions/{name}/waiting", responses=problems(404))
async def get_waiting_analytics(
    name: NamePath,
    session: AnalyticsSession,
    workspace: WorkspaceDep,
    version: Version = None,
    days: Annotated[int, Query(ge=1, le=90, description="days ahead, today the first")] = 14,
) -> WaitingAnalytics:
    """The steps that wait now, and how many timers end on each day ahead."""
    await definitions.get(session, workspace, name)
    scope = Scope(workspace=workspace, definition=name, version=version)
    waiting = await analytics.waiting(session, scope)
    wakes = await analytics.wakes(session, scope, days)
    return WaitingAnalytics(
        definition=name,
        waiting=[WaitingStatistics(**vars(each)) for each in waiting],
        wakes=[Wakes(day=day, timers=count) for day, count in wakes.items()],
    )


@router.get("/definitions/{name}/funnel", responses=problems(404))
async def get_funnel_analytics(
    name: NamePath, session: AnalyticsSession, scope: ScopeDep
) -> FunnelAnalytics:
    """Who was written to, opened, clicked, replied and booked; and the mails by step."""
    people = await analytics_funnel.of_people(session, scope)
    stages = ("sent", "opened", "clicked", "replied", "booked")
    return FunnelAnalytics(
        definition=name,
        stages=[
            FunnelStage(
                stage=stage,
                people=getattr(people, stage),
                rate=_share(getattr(people, stage), people.sent),
            )
            for stage in stages
        ],
        bounced=people.bounced,
        unsubscribed=people.unsubscribed,
        steps=[
            MailStatistics(**vars(each)) for each in await analytics_funnel.of_steps(session, scope)
        ],
    )


@router.get("/definitions/{name}/variants", responses=problems(404))
async def get_variants_analytics(
    name: NamePath,
    session: AnalyticsSession,
    scope: ScopeDep,
    step: Annotated[str, Query(pattern=STEP_ID, description="the id of a split")],
    goal: Annotated[
        Goal, Query(description="the run completed; or its lead did this after the split")
    ] = "completed",
) -> VariantsAnalytics:
    """Runs and conversions of each variant of a split."""
    found = await analytics_variants.of_split(session, scope, step, goal)
    variants = [
        VariantStatistics(
            variant=each.variant,
            runs=each.runs,
            open=each.open,
            conversions=each.conversions,
            rate=_share(each.conversions, each.runs),
            low=each.interval[0],
            high=each.interval[1],
        )
        for each in found
    ]
    return VariantsAnalytics(definition=name, step=step, goal=goal, variants=variants)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _runs(found: RunFigures) -> RunStatistics:
    return RunStatistics(
        total=found.total,
        by_status=found.by_status,
        success_rate=found.success_rate,
        p50_ms=found.p50_ms,
        p95_ms=found.p95_ms,
    )


def _ai(found: AiFigures) -> AiStatistics:
    return AiStatistics(
        calls=found.calls,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cost_usd=float(found.cost),
    )


def _step(found: StepFigures) -> StepStatistics:
    completed, failed = (found.by_status.get(name, 0) for name in ("completed", "failed"))
    return StepStatistics(
        step=found.step,
        type=found.type,
        total=found.steps,
        by_status=found.by_status,
        started=found.started,
        completed=completed,
        failed=failed,
        skipped=found.by_status.get("skipped", 0),
        completion_rate=_share(completed, found.started),
        failure_rate=_share(failed, found.started),
        retried=found.retried,
        retries=found.retries,
        mean_ms=found.mean_ms,
        errors=found.errors,
    )
