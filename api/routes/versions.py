"""/definitions/{name}/versions: immutable once published, one of them active."""

from fastapi import APIRouter, Response

from api.dependencies import ActorDep, CatalogueDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath, VersionPath
from api.models.definitions import Published, VersionDetail, VersionList, VersionSummary
from api.naming import find_missing
from api.publishing import definition_of, document_of, find_version, read_definition
from api.routes.definitions import Publish
from api.source import SOURCE_BODY, SourceDep
from api.views import published, version_summary
from db import definitions
from db.definition_audit import changing_definition, changing_version, note_version
from schemas.validation import check

router = APIRouter(tags=["definitions"], prefix="/definitions/{name}/versions")


@router.post("", status_code=201, responses=problems(404, 413), openapi_extra=SOURCE_BODY)
async def create_version(
    name: NamePath,
    source: SourceDep,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    catalogue: CatalogueDep,
    response: Response,
    publish: Publish = False,
) -> Published:
    """Add a version, as a draft or published; runs already started keep theirs."""
    reading = read_definition(source, catalogue, name=name)
    definition = reading.definition
    async with changing_definition(session, workspace, name, actor=actor):
        version = await definitions.add_version(
            session,
            workspace,
            name,
            document_of(definition),
            source,
            title=definition.title,
            publish=publish,
        )
    await note_version(session, workspace, name, version, actor=actor)
    response.headers["Location"] = f"/api/v1/definitions/{name}/versions/{version.version}"
    active = version.version if publish else None
    missing = await find_missing(session, workspace, definition, source)
    warnings = [*reading.warnings, *missing]
    return published(name, version, active=active, warnings=warnings)


@router.get("", responses=problems(404))
async def list_versions(
    name: NamePath, session: SessionDep, workspace: WorkspaceDep
) -> VersionList:
    """All versions of a definition, newest first."""
    definition = await definitions.get(session, workspace, name)
    rows = await definitions.version_summaries(session, workspace, name)
    active = definition.active_version
    return VersionList(items=[version_summary(name, row, active=active) for row in rows])


@router.get("/{version}", responses=problems(404))
async def get_version(
    name: NamePath, version: VersionPath, session: SessionDep, workspace: WorkspaceDep
) -> VersionDetail:
    """One version with its source as it was written."""
    definition = await definitions.get(session, workspace, name)
    row = await find_version(session, workspace, name, version)
    summary = version_summary(name, row, active=definition.active_version)
    return VersionDetail(**dict(summary), source=row.source, definition=row.document)


@router.post("/{version}/publish", responses=problems(404, 409))
async def publish_version(
    name: NamePath,
    version: VersionPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    catalogue: CatalogueDep,
) -> Published:
    """Make a version the active one; 409 if it is deprecated."""
    async with changing_version(
        session, workspace, name, version, actor=actor, action="version.publish"
    ):
        row = await definitions.publish(session, workspace, name, version)
    missing = await find_missing(session, workspace, definition_of(row), row.source)
    warnings = [*check(row.source, catalogue).warnings, *missing]
    return published(name, row, active=version, warnings=warnings)


@router.post("/{version}/deprecate", responses=problems(404, 409))
async def deprecate_version(
    name: NamePath,
    version: VersionPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> VersionSummary:
    """Let no run start with a version any more; runs already started go on."""
    async with changing_version(
        session, workspace, name, version, actor=actor, action="deprecate_version"
    ):
        row = await definitions.deprecate(session, workspace, name, version)
    return version_summary(name, row, active=None)
