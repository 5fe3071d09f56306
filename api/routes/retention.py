"""/retention: how long rows are kept, how old they are, and pruning them by hand."""

from fastapi import APIRouter

from api.dependencies import ActorDep, DatabaseDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.retention import (
    AgeView,
    PruneAnswer,
    PruneInput,
    RetentionInput,
    RetentionPolicies,
    RetentionPolicyView,
    RetentionStatistics,
    RetentionStatisticsList,
)
from db import audit, retention

router = APIRouter(tags=["retention"], prefix="/retention")

# Seconds; an operator waits for the answer, the schedule does the rest.
_BY_HAND = 10.0


@router.get("", responses=problems())
async def get_retention(session: SessionDep, workspace: WorkspaceDep) -> RetentionPolicies:
    """How long each kind of rows is kept."""
    days = await retention.policies(session, workspace)
    return RetentionPolicies(
        items=[
            RetentionPolicyView(
                subject=subject.name,
                about=subject.about,
                days=days[subject.name],
                default_days=subject.days,
                least=subject.least,
            )
            for subject in retention.available()
        ]
    )


@router.put("", responses=problems(400, 413))
async def set_retention(
    body: RetentionInput, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> RetentionPolicies:
    """Set how long the kinds of rows that are named are kept; the next pruning obeys."""
    await retention.set_policies(session, workspace, body.policies, actor=actor)
    return await get_retention(session, workspace)


@router.get("/statistics", responses=problems())
async def get_retention_statistics(
    session: SessionDep, workspace: WorkspaceDep
) -> RetentionStatisticsList:
    """How many rows there are by age: counted one by one, seconds for many millions."""
    ages = await retention.statistics(session, workspace)
    due = await retention.count_due(session, workspace)
    bounds = (*retention.BUCKETS, None)
    return RetentionStatisticsList(
        items=[
            RetentionStatistics(
                subject=name,
                rows=found.rows,
                oldest=found.oldest,
                ages=[
                    AgeView(under_days=bound, rows=rows)
                    for bound, rows in zip(bounds, found.buckets, strict=True)
                ],
                due=due.get(name, 0),
            )
            for name, found in ages.items()
        ]
    )


@router.post("/prune", responses=problems(400, 413))
async def prune_rows(
    body: PruneInput, database: DatabaseDep, workspace: WorkspaceDep, actor: ActorDep
) -> PruneAnswer:
    """Count what is older than it is kept, or delete it, oldest first."""
    if body.dry_run:
        async with database.session() as session:
            return PruneAnswer(dry_run=True, rows=await retention.count_due(session, workspace))
    done = await retention.prune(database, workspace, seconds=_BY_HAND)
    async with database.session() as session:
        audit.add(
            session,
            workspace,
            actor=actor,
            action="retention.prune",
            subject=workspace,
            data={"rows": done.rows, "more": done.more},
        )
    return PruneAnswer(dry_run=False, rows=done.rows, more=done.more)
