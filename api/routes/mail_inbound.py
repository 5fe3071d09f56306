"""/mail/inbox and /mail/inbound: ways in for replies and bounces, and what came."""

import secrets
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Query, Request, Response

from api.auth import public
from api.config import ApiConfig
from api.correlation import request_id
from api.dependencies import ActorDep, ConfigDep, DatabaseDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.inbound_body import INBOUND_BODY, read_inbound
from api.models.common import PageDep
from api.models.mail_inboxes import (
    InboundAnswer,
    InboundPage,
    InboundView,
    InboxInput,
    InboxList,
    InboxView,
)
from api.outbox import Outbox
from api.routes.runs import StarterDep
from db import connections, inbound_table, mail_inboxes, mail_intake, tenancy
from db.audit_hashes import changing_named
from db.mail_inboxes import MailInbox
from schemas.connections import CONNECTION_NAME
from schemas.errors import ConflictError, InputError
from schemas.inbound_mail import InboundKind, InboxKind

router = APIRouter(tags=["mail"], prefix="/mail")

InboxPath = Annotated[str, Path(pattern=CONNECTION_NAME, description="the inbox's name")]


@router.get("/inboxes", responses=problems())
async def list_inboxes(session: SessionDep, workspace: WorkspaceDep) -> InboxList:
    """The ways in, by name."""
    found = await mail_inboxes.list_all(session, workspace)
    return InboxList(items=[_view(row) for row in found])


@router.get("/inboxes/{name}", responses=problems(404))
async def get_inbox(name: InboxPath, session: SessionDep, workspace: WorkspaceDep) -> InboxView:
    """One way in."""
    return _view(await mail_inboxes.get(session, workspace, name))


@router.put(
    "/inboxes/{name}",
    responses={
        201: {"model": InboxView, "description": "It is new"},
        **problems(400, 409, 413),
    },
)
async def put_inbox(
    name: InboxPath,
    body: InboxInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    config: ConfigDep,
    actor: ActorDep,
    response: Response,
) -> InboxView:
    """Make or change a way in; the answer for a new webhook holds its token, shown this once."""
    if body.connection is not None:
        found = await connections.find(session, workspace, body.connection)
        if found is None or found.kind != "imap":
            raise InputError(f"there is no connection {body.connection!r} of kind imap")
    token = secrets.token_urlsafe(32)
    async with changing_named(session, workspace, MailInbox, name, actor=actor, action="put_inbox"):
        row, made = await mail_inboxes.put(
            session,
            workspace,
            name,
            body.kind,
            connection=body.connection,
            enabled=body.enabled,
            token=token,
        )
    if made:
        response.status_code = 201
    return _view(row, token if made and body.kind is InboxKind.WEBHOOK else None, config)


@router.post("/inboxes/{name}/rotate", responses=problems(404, 409))
async def rotate_inbox_token(
    name: InboxPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    config: ConfigDep,
    actor: ActorDep,
) -> InboxView:
    """Give a webhook a new token, shown this once; the one before is unknown from now on."""
    token = secrets.token_urlsafe(32)
    async with changing_named(
        session, workspace, MailInbox, name, actor=actor, action="rotate_inbox_token"
    ):
        row = await mail_inboxes.rotate(session, workspace, name, token)
    return _view(row, token, config)


@router.delete("/inboxes/{name}", status_code=204, responses=problems(404))
async def delete_inbox(
    name: InboxPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> None:
    """Delete a way in; what came through it stays."""
    async with changing_named(
        session, workspace, MailInbox, name, actor=actor, action="delete_inbox"
    ):
        await mail_inboxes.delete(session, workspace, name)


@router.get("/inbound", responses=problems())
async def list_inbound_mail(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    kind: Annotated[InboundKind | None, Query()] = None,
) -> InboundPage:
    """Received mail, newest first."""
    found = await inbound_table.list_page(
        session, workspace, kind=kind, cursor=page.cursor, limit=page.limit
    )
    views = [
        InboundView.model_validate(row.model_dump(include=set(InboundView.model_fields)))
        for row in found.items
    ]
    return InboundPage(items=views, next_cursor=found.next_cursor)


@router.post(
    "/inbound/{token}",
    status_code=202,
    responses={
        200: {"model": InboundAnswer, "description": "It came before"},
        **problems(404, 409, 413, closed=False),
    },
    openapi_extra=INBOUND_BODY,
)
@public
async def receive_mail(
    token: Annotated[str, Path(min_length=1, max_length=128, description="the inbox's token")],
    request: Request,
    database: DatabaseDep,
    starter: StarterDep,
    response: Response,
    after: BackgroundTasks,
) -> InboundAnswer:
    """Take a received mail; once this is answered, whoever waits for it is told."""
    with tenancy.system():
        async with database.session() as session:
            inbox = await mail_inboxes.by_token(session, token)
    tenancy.enter(inbox.workspace)
    starter = starter.of(inbox.workspace)
    if not inbox.enabled:
        raise ConflictError("the inbox is disabled", hint="its owner can enable it")
    received = await read_inbound(request)
    async with database.session() as session:
        taken = await mail_intake.take(session, inbox, received, correlation_id=request_id())
    for published in taken.forward:
        after.add_task(Outbox(starter).forward, published)
    if taken.duplicate:
        response.status_code = 200
    return InboundAnswer(
        id=taken.mail.id,
        kind=taken.mail.kind,
        matched=taken.mail.matched_by is not None,
        duplicate=taken.duplicate,
    )


def _view(row: MailInbox, token: str | None = None, config: ApiConfig | None = None) -> InboxView:
    made = {}
    if token is not None:
        base = (config.public_url if config else None) or ""
        made = {"token": token, "url": f"{base.rstrip('/')}/api/v1/mail/inbound/{token}"}
    return InboxView.model_validate(row.model_dump(include=set(InboxView.model_fields)) | made)
