"""/suppressions: addresses that get no mail, checked in the transaction that claims each mail."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from activities.addresses import parse_address
from api.dependencies import ActorDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import PageDep
from api.models.suppressions import SuppressionInput, SuppressionPage, SuppressionView
from db import audit, suppressions
from db.leads import normalise_email
from db.suppressions import SuppressionReason
from schemas.errors import InputError

router = APIRouter(tags=["mail"], prefix="/suppressions")

AddressPath = Annotated[
    str, Path(min_length=3, max_length=254, description="the address", examples=["ada@example.com"])
]


@router.get("", responses=problems())
async def list_suppressions(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    reason: Annotated[SuppressionReason | None, Query()] = None,
) -> SuppressionPage:
    """Addresses that get no mail, the last one first."""
    found = await suppressions.list_page(
        session, workspace, reason=reason, cursor=page.cursor, limit=page.limit
    )
    return SuppressionPage(items=[_view(row) for row in found.items], next_cursor=found.next_cursor)


@router.get("/{address}", responses=problems(404))
async def get_suppression(
    address: AddressPath, session: SessionDep, workspace: WorkspaceDep
) -> SuppressionView:
    """Why one address gets no mail; 404 where it does."""
    return _view(await suppressions.get(session, workspace, _normalise(address)))


@router.put(
    "/{address}",
    responses={
        201: {"model": SuppressionView, "description": "The address gets no mail from now on"},
        **problems(400, 413),
    },
)
async def put_suppression(
    address: AddressPath,
    body: SuppressionInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    response: Response,
) -> SuppressionView:
    """Let an address get no mail; one that is on the list already stays as it is (200)."""
    known = _normalise(address)
    if await suppressions.add(session, workspace, known, body.reason, source=body.source):
        response.status_code = 201
        audit.add(
            session,
            workspace,
            actor=actor,
            action="suppression.add",
            subject=_masked(known),
            data={"reason": body.reason, "source": body.source},
        )
    return _view(await suppressions.get(session, workspace, known))


@router.delete("/{address}", status_code=204, responses=problems(404))
async def delete_suppression(
    address: AddressPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> None:
    """Let an address get mail again: only if its owner has asked for it."""
    known = _normalise(address)
    await suppressions.remove(session, workspace, known)
    audit.add(
        session,
        workspace,
        actor=actor,
        action="suppression.remove",
        subject=_masked(known),
    )


def _normalise(address: str) -> str:
    """Give an address as mails are checked against it; raises InputError."""
    try:
        return normalise_email(parse_address(address).addr_spec)
    except ValueError as error:
        raise InputError(str(error), path="address") from error


def _masked(address: str) -> str:
    """Give what stands for an address where entries are kept for ever."""
    return f"sha256:{hashlib.sha256(address.encode()).hexdigest()}"


def _view(row: suppressions.Suppression) -> SuppressionView:
    return SuppressionView.model_validate(row.model_dump())
