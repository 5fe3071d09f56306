"""Migrating open runs to another version, and the difference of two versions."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import (
    ActorDep,
    CatalogueDep,
    ConfigDep,
    DatabaseDep,
    GatewayDep,
    SessionDep,
    WorkspaceDep,
)
from api.errors import problems
from api.migrating import Migrator
from api.models.common import NamePath, PageDep, RunPath, VersionPath
from api.models.migrations import MigrationOrder, MigrationReport, RunMigration, VersionDiff
from api.publishing import definition_of, find_version
from db import run_versions, runs
from db.definitions import Version, VersionStatus
from db.engine import Database
from schemas.diff import diff
from schemas.errors import ConflictError, ErrorCode
from schemas.migration import Fit

router = APIRouter(tags=["versions"])


@router.get("/definitions/{name}/versions/{version}/diff", responses=problems(404))
async def compare_versions(
    name: NamePath,
    version: VersionPath,
    to: Annotated[int, Query(ge=1, le=2**31 - 1, description="the newer version")],
    session: SessionDep,
    workspace: WorkspaceDep,
) -> VersionDiff:
    """What changed from this version to another: steps, input schema, other fields."""
    old = await find_version(session, workspace, name, version)
    new = await find_version(session, workspace, name, to)
    found = diff(definition_of(old), definition_of(new))
    return VersionDiff(
        **dict(found),
        definition=name,
        from_version=version,
        to_version=to,
        compatible=not any(change.breaking for change in found.input),
        open_runs=await run_versions.count_open(session, workspace, name, version),
    )


@router.post(
    "/definitions/{name}/versions/{version}/migrate", responses=problems(400, 404, 409, 413)
)
async def migrate_version(
    name: NamePath,
    version: VersionPath,
    body: MigrationOrder,
    database: DatabaseDep,
    gateway: GatewayDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    config: ConfigDep,
    catalogue: CatalogueDep,
    page: PageDep,
) -> MigrationReport:
    """Classify the open runs of this version against another; with `confirm` migrate what fits.

    A run that is blocked goes on in its version. One call treats one page of runs.
    """
    target = await _target(database, workspace, name, body.version, version)
    async with database.session() as session:
        found = await run_versions.open_runs(
            session, workspace, name, version, cursor=page.cursor, limit=page.limit
        )
    migrator = Migrator(database, gateway, catalogue, target, body.mapping, actor, config.masking)
    verdicts = await migrator.all(found.items, confirm=body.confirm)
    counts = Counter(verdict.fit for verdict in verdicts)
    return MigrationReport(
        definition=name,
        from_version=version,
        to_version=body.version,
        confirmed=body.confirm,
        safe=counts[Fit.SAFE],
        mapped=counts[Fit.MAPPED],
        blocked=counts[Fit.BLOCKED],
        migrated=sum(verdict.migrated for verdict in verdicts),
        runs=verdicts,
        next_cursor=found.next_cursor,
    )


@router.post("/runs/{run_id}/migrate", responses=problems(400, 404, 409, 413))
async def migrate_run(
    run_id: RunPath,
    body: MigrationOrder,
    database: DatabaseDep,
    gateway: GatewayDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    config: ConfigDep,
    catalogue: CatalogueDep,
) -> RunMigration:
    """Classify one open run against another version; with `confirm` migrate it if it fits."""
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
    if run.status.terminal:
        raise ConflictError(f"the run has ended: it is {run.status.value}")
    target = await _target(database, workspace, run.definition, body.version, run.version)
    migrator = Migrator(database, gateway, catalogue, target, body.mapping, actor, config.masking)
    return await migrator.one(run, confirm=body.confirm)


async def _target(database: Database, workspace: str, name: str, version: int, old: int) -> Version:
    async with database.session() as session:
        await find_version(session, workspace, name, old)
        target = await find_version(session, workspace, name, version)
    if target.status is not VersionStatus.PUBLISHED or version == old:
        state = "the runs' own" if version == old else target.status.value
        raise ConflictError(
            f"version {version} of {name!r} is {state}; runs migrate to another published one",
            code=ErrorCode.VERSION_CONFLICT,
        )
    return target
