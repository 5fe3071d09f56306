"""/connections: stored access to outside systems; what is secret goes in and never out."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from activities.probing import Prober
from api import connecting
from api.dependencies import ActorDep, DatabaseDep, KeyringDep, SessionDep, WorkspaceDep
from api.errors import MEDIA_TYPE, problem_response, problems
from api.models.common import SlugPath
from api.models.connections import (
    ConnectionList,
    ConnectionView,
    Disabled,
    Kind,
    LastTest,
    TestAnswer,
)
from api.naming import refuse_named
from db import audit, connections
from db.audit_hashes import changing_named
from schemas.connections import AnyConnection

router = APIRouter(tags=["connections"], prefix="/connections")

Force = Annotated[bool, Query(description="delete it though published definitions name it")]
_NO_TESTS: dict[int | str, dict[str, Any]] = {
    501: {
        "description": "This process cannot reach outside systems",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}},
    },
}


@router.get("", responses=problems())
async def list_connections(
    session: SessionDep,
    workspace: WorkspaceDep,
    kind: Annotated[Kind | None, Query(description="only those of this kind")] = None,
) -> ConnectionList:
    """All connections, by name."""
    rows = await connections.list_all(session, workspace, kind=kind)
    return ConnectionList(items=[_view(row) for row in rows])


@router.get("/{name}", responses=problems(404))
async def get_connection(
    name: SlugPath, session: SessionDep, workspace: WorkspaceDep
) -> ConnectionView:
    """One connection; of its secrets the names of those that are set."""
    return _view(await connections.get(session, workspace, name))


@router.put("/{name}", responses=problems(400, 409, 413))
async def put_connection(
    name: SlugPath,
    body: Annotated[AnyConnection, Body(discriminator="kind")],
    session: SessionDep,
    workspace: WorkspaceDep,
    keyring: KeyringDep,
    actor: ActorDep,
) -> ConnectionView:
    """Create or replace a connection.

    Without `secrets` those that are stored stay; with it they are all replaced. One that was
    disabled is enabled. 409 where no keys are configured to seal them with.
    """
    return _view(await connecting.store(session, workspace, name, body, keyring, actor=actor))


@router.delete("/{name}", status_code=204, responses=problems(404, 409))
async def delete_connection(
    name: SlugPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    force: Force = False,
) -> None:
    """Delete a connection; 409 while a published definition names it, unless forced."""
    await connections.get(session, workspace, name)
    if not force:
        await refuse_named(session, workspace, "connection", name)
    async with changing_named(
        session,
        workspace,
        connections.Connection,
        name,
        actor=actor,
        action="connection.delete",
        data={"force": force},
    ):
        await connections.delete(session, workspace, name)


@router.post("/{name}/enable", responses=problems(404))
async def enable_connection(
    name: SlugPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> ConnectionView:
    """Have a connection used again whose receiver wanted no more webhooks (410)."""
    return _view(await connections.enable(session, workspace, name, actor=actor))


@router.post(
    "/{name}/test", response_model=TestAnswer, responses={**problems(404, 409), **_NO_TESTS}
)
async def test_connection(
    name: SlugPath,
    request: Request,
    database: DatabaseDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    keyring: KeyringDep,
) -> TestAnswer | Response:
    """Try a connection for real, within 10 seconds: log in, ask for something harmless, leave.

    The answer is 200 also where it does not work; `ok` says so. No mail is sent.
    """
    prober: Prober | None = request.app.state.prober
    if prober is None:
        return problem_response(
            501, "NOT_IMPLEMENTED", "this process cannot reach outside systems to test them"
        )
    async with database.session() as session:
        row = await connections.get(session, workspace, name)
    # No transaction is open while the other side takes its time.
    found = await prober.probe(
        row.name, row.kind, row.config, connections.open_secrets(row, keyring)
    )
    async with database.session() as session:
        await connections.note_test(session, workspace, name, ok=found.ok, message=found.message)
        audit.add(
            session,
            workspace,
            actor=actor,
            action="connection.test",
            subject=name,
            data={"ok": found.ok},
        )
    return TestAnswer(ok=found.ok, message=found.message, duration_ms=found.duration_ms)


def _view(row: connections.Connection) -> ConnectionView:
    last = None
    if row.tested_at is not None:
        last = LastTest(ok=bool(row.test_ok), message=row.test_message or "", at=row.tested_at)
    values = row.model_dump(include={"name", "kind", "config", "created_at", "updated_at"})
    disabled = None
    if row.disabled_at is not None:
        disabled = Disabled(at=row.disabled_at, reason=row.disabled_reason or "")
    return ConnectionView(**values, secrets=row.secret_fields, last_test=last, disabled=disabled)
