"""Runs that runs start: `open_run` and `open_batch` make the row before the child begins.

Both may run again after a worker died: the child's id is the caller's, and what is there stays.
"""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.execution import application_error
from activities.services import Services
from db import definitions, runs, tenancy
from db.definitions import Version, VersionStatus
from db.engine import Database
from schemas.errors import ConflictError, ErrorCode, NotFoundError, SojournError
from schemas.run import MAX_INPUT_BYTES
from schemas.validation import check_input, check_size


class _Child(BaseModel):
    workspace: str
    run_id: str
    definition: str
    version: int | None = None
    parent: str
    path: str
    detached: bool = False
    input: dict[str, Any]
    lead_id: str | None = None
    correlation_id: str | None = None


def build(services: Services) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name="open_run")
    async def open_run(request: Any) -> dict[str, Any]:
        try:
            child = _Child.model_validate(request)
            with tenancy.scope(child.workspace):
                return await open_child(_database(services), child)
        except SojournError as error:
            raise application_error(error) from error

    @activity.defn(name="open_batch")
    async def open_batch(request: Any) -> None:
        try:
            child = _Child.model_validate(request)
            with tenancy.scope(child.workspace):
                await _insert(_database(services), child, child.version or 1, None)
        except SojournError as error:
            raise application_error(error) from error

    return [open_run, open_batch]


async def open_child(database: Database, child: _Child) -> dict[str, Any]:
    """Find the version, check the input and store the row; gives {definition, version, priority}.

    Raises NotFoundError (DEFINITION_NOT_FOUND), ConflictError (VERSION_CONFLICT), InputError,
    LimitError.
    """
    check_size(child.input, MAX_INPUT_BYTES, "the input")
    found = await _version(database, child, child.version)
    check_input(found.document.get("input") or {"type": "object"}, child.input)
    priority = found.document.get("priority", 3)
    version = await _insert(database, child, found.version, priority)
    if version != found.version:
        # An earlier attempt stored the row, and another version became active since.
        found = await _version(database, child, version)
    return {"definition": found.document, "version": version, "priority": priority}


async def _version(database: Database, child: _Child, number: int | None) -> Version:
    async with database.session() as session:
        try:
            found = await definitions.get_version(
                session, child.workspace, child.definition, number
            )
        except NotFoundError as error:
            if number is None:
                raise
            await definitions.get(session, child.workspace, child.definition)
            raise ConflictError(error.message, code=ErrorCode.VERSION_CONFLICT) from error
    if found.status is not VersionStatus.PUBLISHED:
        raise ConflictError(
            f"version {found.version} of {child.definition!r} is {found.status.value}",
            code=ErrorCode.VERSION_CONFLICT,
            hint="publish it, or name another version",
        )
    return found


async def _insert(database: Database, child: _Child, version: int, priority: int | None) -> int:
    """Store the child's row unless it is there; gives the version that it has."""
    run = runs.Run(
        id=child.run_id,
        workspace=child.workspace,
        definition=child.definition,
        version=version,
        input=child.input,
        lead_id=child.lead_id,
        parent_run_id=child.parent,
        parent_path=child.path,
        detached=child.detached,
        priority=priority or 3,
        workflow_id=runs.workflow_id(child.workspace, child.definition, child.run_id),
        correlation_id=child.correlation_id,
    )
    async with database.session() as session:
        return (await runs.insert_child(session, run)).version


def _database(services: Services) -> Database:
    if services.database is None:
        raise ApplicationError(
            "this worker has no database", type=str(ErrorCode.DATABASE_UNAVAILABLE)
        )
    return services.database
