"""/secrets: single values that definitions name as `{{ secrets.NAME }}`; they never come out."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.dependencies import ActorDep, KeyringDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.connections import SecretInput, SecretList, SecretView
from api.naming import refuse_named
from api.routes.connections import Force
from db import secrets
from db.audit_hashes import changing_named
from schemas.connections import SECRET_NAME
from schemas.errors import NotFoundError

router = APIRouter(tags=["connections"], prefix="/secrets")

SecretPath = Annotated[str, Path(pattern=SECRET_NAME, description="its name")]


@router.get("", responses=problems())
async def list_secrets(session: SessionDep, workspace: WorkspaceDep) -> SecretList:
    """The names of all secrets."""
    rows = await secrets.list_all(session, workspace)
    return SecretList(items=[_view(row) for row in rows])


@router.put("/{name}", responses=problems(400, 409, 413))
async def put_secret(
    name: SecretPath,
    body: SecretInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    keyring: KeyringDep,
) -> SecretView:
    """Create or replace a secret; the next step that names it gets the new value.

    409 where no keys are configured to seal it with.
    """
    async with changing_named(
        session, workspace, secrets.Secret, name, actor=actor, action="secret.put"
    ):
        row = await secrets.put(session, workspace, name, body.value, keyring)
    return _view(row)


@router.delete("/{name}", status_code=204, responses=problems(404, 409))
async def delete_secret(
    name: SecretPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    force: Force = False,
) -> None:
    """Delete a secret; 409 while a published definition names it, unless forced."""
    if not await secrets.known_names(session, workspace, [name]):
        raise NotFoundError(f"there is no secret named {name!r}")
    if not force:
        await refuse_named(session, workspace, "secret", name)
    async with changing_named(
        session,
        workspace,
        secrets.Secret,
        name,
        actor=actor,
        action="secret.delete",
        data={"force": force},
    ):
        await secrets.delete(session, workspace, name)


def _view(row: secrets.Secret) -> SecretView:
    return SecretView.model_validate(row.model_dump(include=set(SecretView.model_fields)))
