"""/members: what users of the issuer may do in the workspace."""

from fastapi import APIRouter

from api.dependencies import ActorDep, IdentityDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.identity import ForbiddenError
from api.models.access import MemberInput, MemberList, MemberPath, MemberView
from db import audit_hashes, members
from db.members import Member

router = APIRouter(tags=["access"], prefix="/members")


@router.get("", responses=problems())
async def list_members(session: SessionDep, workspace: WorkspaceDep) -> MemberList:
    """All members, by subject."""
    rows = await members.list_all(session, workspace)
    return MemberList(items=[_view(row) for row in rows])


@router.put("/{subject}", responses=problems(400, 413))
async def put_member(
    subject: MemberPath, body: MemberInput, session: SessionDep, identity: IdentityDep
) -> MemberView:
    """Let a user in, or change what it may do; it counts within five seconds."""
    if identity.scopes:
        raise ForbiddenError("a key with scopes cannot make members, who have none")
    member = Member(
        workspace=identity.workspace,
        subject=subject,
        role=body.role,
        grants={name: role.value for name, role in body.grants.items()},
        created_by=identity.actor,
    )
    async with audit_hashes.changing(
        session,
        identity.workspace,
        Member,
        {"workspace": identity.workspace, "subject": subject},
        actor=identity.actor,
        action="member.put",
        subject=subject,
        data=body.model_dump(mode="json"),
    ):
        row = await members.put(session, member)
    return _view(row)


@router.delete("/{subject}", status_code=204, responses=problems(404))
async def delete_member(
    subject: MemberPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> None:
    """Let a user out; tokens that name workspace and role themselves go on."""
    key = {"workspace": workspace, "subject": subject}
    async with audit_hashes.changing(
        session, workspace, Member, key, actor=actor, action="member.delete", subject=subject
    ):
        await members.delete(session, workspace, subject)


def _view(row: Member) -> MemberView:
    return MemberView.model_validate(row.model_dump(include=set(MemberView.model_fields)))
