"""/o/{id}.gif and /c/{id}: a mail's pixel and links; open to everybody."""

import base64
import string
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import quote

import structlog
from fastapi import APIRouter, BackgroundTasks, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import public
from api.correlation import request_id
from api.dependencies import DatabaseDep
from api.errors import problems
from api.hit_rates import HitRate
from api.outbox import Outbox
from api.routes.runs import StarterDep
from api.starting import Starter
from db import mail_links, mail_messages, tenancy, tracking
from db.base import now
from db.engine import Database
from db.events import Published
from schemas.errors import SojournError

router = APIRouter(tags=["mail"])
_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_HEADERS = {
    "Cache-Control": "no-store, max-age=0",
    # A mail is shown on another site's page.
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Robots-Tag": "noindex",
}
_GONE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>No such link</title></head>
<body><main><h1>No such link</h1><p>This link leads nowhere any more.</p></main></body>
</html>
"""
_MAX_ID = 64
_log = structlog.get_logger(__name__)
_rate = HitRate()

Record = Callable[[AsyncSession], Awaitable[Published | None]]
MailId = Annotated[str, Path(description="the mail's opaque id")]
LinkId = Annotated[str, Path(alias="id", description="the link's opaque id")]


class _Gif(Response):
    media_type = "image/gif"


async def _pixel(
    tracking_id: str,
    request: Request,
    database: Database,
    starter: Starter,
    after: BackgroundTasks,
) -> Response:
    # Answered before anything is looked up: neither content nor time tells a known id.
    method, headers, at, correlation = request.method, _headers(request), now(), request_id()

    async def record(session: AsyncSession) -> Published | None:
        return await tracking.record_open(
            session,
            tracking_id,
            method=method,
            headers=headers,
            at=at,
            correlation_id=correlation,
        )

    async def keep() -> None:
        with tenancy.system():
            async with database.session() as session:
                mail = await mail_messages.by_tracking_id(session, tracking_id)
        if mail is not None:
            await _keep(database, starter.of(mail.workspace), record)

    if len(tracking_id) <= _MAX_ID and _rate.take(f"o/{tracking_id}"):
        after.add_task(_tolerate, keep)
    return _Gif(_PIXEL, headers=_HEADERS, background=after)


_PIXEL_ANSWERS = {
    200: {"content": {"image/gif": {}}, "description": "One transparent pixel, for any id"},
    **problems(closed=False),
}


@router.get("/o/{tracking_id}.gif", response_class=_Gif, responses=_PIXEL_ANSWERS)
@public
async def open_mail(
    tracking_id: MailId,
    request: Request,
    database: DatabaseDep,
    starter: StarterDep,
    after: BackgroundTasks,
) -> Response:
    """A mail's pixel: the same for every id; a request of a person counts as an open."""
    return await _pixel(tracking_id, request, database, starter, after)


@router.head("/o/{tracking_id}.gif", response_class=_Gif, responses=_PIXEL_ANSWERS)
@public
async def probe_mail(
    tracking_id: MailId,
    request: Request,
    database: DatabaseDep,
    starter: StarterDep,
    after: BackgroundTasks,
) -> Response:
    """What machines ask for; it counts for nothing."""
    return await _pixel(tracking_id, request, database, starter, after)


_LINK_ANSWERS = {
    302: {"description": "To the target that the mail was sent with"},
    404: {"content": {"text/html": {}}, "description": "No such link"},
    **problems(closed=False),
}


async def _link(
    link_id: str,
    request: Request,
    database: Database,
    starter: Starter,
    after: BackgroundTasks,
) -> Response:
    sane = len(link_id) <= _MAX_ID and link_id.isascii()
    link = await _find(database, link_id) if sane else None
    # They are checked before they are stored; a row that is neither leads nowhere all the same.
    if link is None or not link.url.startswith(("http://", "https://")):
        return HTMLResponse(_GONE, 404, headers=_HEADERS)
    method, headers, at, correlation = request.method, _headers(request), now(), request_id()

    async def record(session: AsyncSession) -> Published | None:
        return await tracking.record_click(
            session, link, method=method, headers=headers, at=at, correlation_id=correlation
        )

    if _rate.take(f"c/{link.id}"):
        after.add_task(_tolerate, lambda: _keep(database, starter.of(link.workspace), record))
    answer = RedirectResponse("/", 302, headers=_HEADERS, background=after)
    # As it was stored: the class would quote it once more.
    answer.headers["Location"] = quote(link.url, safe=string.punctuation)
    return answer


@router.get("/c/{id}", status_code=302, response_class=RedirectResponse, responses=_LINK_ANSWERS)
@public
async def follow_link(
    link_id: LinkId,
    request: Request,
    database: DatabaseDep,
    starter: StarterDep,
    after: BackgroundTasks,
) -> Response:
    """A mail's link: leads to the target that is stored for it and nowhere else."""
    return await _link(link_id, request, database, starter, after)


@router.head("/c/{id}", status_code=302, response_class=RedirectResponse, responses=_LINK_ANSWERS)
@public
async def probe_link(
    link_id: LinkId,
    request: Request,
    database: DatabaseDep,
    starter: StarterDep,
    after: BackgroundTasks,
) -> Response:
    """What machines ask for; it counts for nothing."""
    return await _link(link_id, request, database, starter, after)


def _headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


async def _find(database: Database, link_id: str) -> mail_links.MailLink | None:
    with tenancy.system():
        async with database.session() as session:
            return await mail_links.find(session, link_id)


async def _tolerate(keep: Callable[[], Awaitable[None]]) -> None:
    """Record after the answer; what cannot be kept is logged, since it is a hint and no more."""
    try:
        await keep()
    except (SojournError, SQLAlchemyError, OSError) as error:
        _log.warning("hit_not_kept", error=type(error).__name__)


async def _keep(database: Database, starter: Starter, record: Record) -> None:
    """Record in the mail's workspace, which is the starter's."""
    with tenancy.scope(starter.workspace):
        async with database.session() as session:
            published = await record(session)
        if published is not None:
            await Outbox(starter).forward(published)
