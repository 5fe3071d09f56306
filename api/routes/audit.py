"""/audit: who did what, for admins."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel

from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import PageDep
from db import audit_pages

router = APIRouter(tags=["audit"], prefix="/audit")

Text = Annotated[str | None, Query(min_length=1, max_length=320)]


class AuditView(BaseModel):
    """One deed: `actor` did `action` to `target`.

    `request_id` and `ip` are those of the request; the hashes are SHA-256 of the target's state
    before and after, where it is kept. `seq` is the place that seals count by.
    """

    id: str
    at: datetime
    actor: str
    action: str
    target: str
    data: dict[str, Any] | None
    request_id: str | None
    ip: str | None
    before_hash: str | None
    after_hash: str | None
    seq: int | None


class AuditPage(BaseModel):
    """A page of entries, the newest first."""

    items: list[AuditView]
    next_cursor: str | None


@router.get("", responses=problems(400))
async def list_audit(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    actor: Text = None,
    action: Text = None,
    target: Text = None,
    since: Annotated[
        AwareDatetime | None, Query(alias="from", description="at this moment or later")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="before it")] = None,
) -> AuditPage:
    """Who did what, the newest first; an `action` that ends in `.` stands for all that begin so."""
    found = await audit_pages.list_page(
        session,
        workspace,
        audit_pages.Wanted(actor=actor, action=action, subject=target, since=since, until=until),
        cursor=page.cursor,
        limit=page.limit,
    )
    items = [
        AuditView(
            at=row.created_at,
            target=row.subject,
            **row.model_dump(exclude={"created_at", "subject", "workspace"}),
        )
        for row in found.items
    ]
    return AuditPage(items=items, next_cursor=found.next_cursor)
