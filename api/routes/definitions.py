"""/definitions: what runs are made of."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import ActorDep, CatalogueDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath, PageDep
from api.models.definitions import (
    DefinitionDetail,
    DefinitionPage,
    DefinitionSummary,
    Published,
    Verdict,
)
from api.naming import find_missing
from api.publishing import check_definition, document_of, read_definition
from api.source import SOURCE_BODY, SourceDep
from api.views import definition_summary, published
from db import definitions
from db.definition_audit import changing_definition, note_version

router = APIRouter(tags=["definitions"])

Publish = Annotated[bool, Query(description="publish at once, as the active version")]


@router.post(
    "/definitions", status_code=201, responses=problems(409, 413), openapi_extra=SOURCE_BODY
)
async def create_definition(
    source: SourceDep,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    catalogue: CatalogueDep,
    response: Response,
    publish: Publish = False,
) -> Published:
    """Store a new definition, as a draft or published; 409 if the name exists."""
    reading = read_definition(source, catalogue)
    definition = reading.definition
    about = {"version": 1, "published": publish}
    async with changing_definition(
        session, workspace, definition.name, actor=actor, action="definition.create", data=about
    ):
        version = await definitions.create(
            session,
            workspace,
            definition.name,
            document_of(definition),
            source,
            title=definition.title,
            publish=publish,
        )
    await note_version(session, workspace, definition.name, version, actor=actor)
    response.headers["Location"] = f"/api/v1/definitions/{definition.name}"
    active = 1 if publish else None
    missing = await find_missing(session, workspace, definition, source)
    warnings = [*reading.warnings, *missing]
    return published(definition.name, version, active=active, warnings=warnings)


@router.post("/definitions/validate", responses=problems(413), openapi_extra=SOURCE_BODY)
async def validate_definition(source: SourceDep, catalogue: CatalogueDep) -> Verdict:
    """Say everything that is wrong with a definition; nothing is stored."""
    return Verdict(problems=check_definition(source, catalogue))


@router.get("/definitions", responses=problems())
async def list_definitions(
    session: SessionDep, workspace: WorkspaceDep, page: PageDep
) -> DefinitionPage:
    """The definitions of the workspace, newest first."""
    found = await definitions.list_page(session, workspace, cursor=page.cursor, limit=page.limit)
    return DefinitionPage(
        items=[DefinitionSummary(**definition_summary(row)) for row in found.items],
        next_cursor=found.next_cursor,
    )


@router.get("/definitions/{name}", responses=problems(404))
async def get_definition(
    name: NamePath, session: SessionDep, workspace: WorkspaceDep
) -> DefinitionDetail:
    """A definition, with the content of its active version or of its latest one."""
    row = await definitions.get(session, workspace, name)
    shown = row.active_version or row.latest_version
    version = await definitions.get_version(session, workspace, name, shown)
    return DefinitionDetail(**definition_summary(row), definition=version.document)


@router.delete("/definitions/{name}", status_code=204, responses=problems(404, 409))
async def delete_definition(
    name: NamePath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> None:
    """Delete a definition with its versions; 409 while it has open runs. Its past runs stay."""
    async with changing_definition(
        session, workspace, name, actor=actor, action="delete_definition"
    ):
        await definitions.delete(session, workspace, name)
