"""/workspaces: the tenants, for the operator of the installation alone."""

from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter
from sqlmodel.ext.asyncio.session import AsyncSession

from api.dependencies import ActorDep, ConfigDep, DatabaseDep
from api.errors import problems
from api.models.access import (
    WorkspaceInput,
    WorkspaceList,
    WorkspacePatch,
    WorkspacePath,
    WorkspaceView,
)
from db import audit_hashes, tenancy, workspaces
from db.workspaces import Workspace
from schemas.errors import ConflictError

router = APIRouter(tags=["access"], prefix="/workspaces")


@router.get("", responses=problems())
async def list_workspaces(database: DatabaseDep) -> WorkspaceList:
    """All workspaces that were made, by name."""
    with tenancy.system():
        async with database.session() as session:
            rows = await workspaces.list_all(session)
    return WorkspaceList(items=[_view(row) for row in rows])


@router.post("", status_code=201, responses=problems(400, 409, 413))
async def create_workspace(
    body: WorkspaceInput, database: DatabaseDep, actor: ActorDep, config: ConfigDep
) -> WorkspaceView:
    """Make a workspace; its first key is made with `POST /api-keys` and its name."""
    if body.name == config.workspace:
        raise ConflictError("that is the installation's own workspace")
    with tenancy.scope(body.name):
        async with (
            database.session() as session,
            _changing(session, body.name, actor, "workspace.create"),
        ):
            row = await workspaces.create(session, body.name, body.title)
    return _view(row)


@router.get("/{name}", responses=problems(404))
async def get_workspace(name: WorkspacePath, database: DatabaseDep) -> WorkspaceView:
    """One workspace."""
    with tenancy.scope(name):
        async with database.session() as session:
            return _view(await workspaces.get(session, name))


@router.patch("/{name}", responses=problems(400, 404, 413))
async def update_workspace(
    name: WorkspacePath, body: WorkspacePatch, database: DatabaseDep, actor: ActorDep
) -> WorkspaceView:
    """Give a workspace another title."""
    with tenancy.scope(name):
        async with (
            database.session() as session,
            _changing(session, name, actor, "workspace.update"),
        ):
            row = await workspaces.rename(session, name, body.title)
    return _view(row)


@router.delete("/{name}", status_code=204, responses=problems(404, 409))
async def delete_workspace(name: WorkspacePath, database: DatabaseDep, actor: ActorDep) -> None:
    """Delete a workspace without definitions and runs, and its keys; the audit stays."""
    with tenancy.scope(name):
        async with (
            database.session() as session,
            _changing(session, name, actor, "workspace.delete"),
        ):
            await workspaces.delete(session, name)


def _changing(
    session: AsyncSession, name: str, actor: str, action: str
) -> AbstractAsyncContextManager[None]:
    key = {"workspace": name}
    return audit_hashes.changing(
        session, name, Workspace, key, actor=actor, action=action, subject=name
    )


def _view(row: Workspace) -> WorkspaceView:
    return WorkspaceView(name=row.workspace, title=row.title, created_at=row.created_at)
