"""/u/{id}: where a mail's unsubscribe link leads; open to everybody, in HTML."""

import re
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse

from api.auth import public
from api.dependencies import DatabaseDep
from api.errors import problems
from api.plain_page import plain_page
from db import mail_messages, tenancy
from db.unsubscribing import unsubscribe

router = APIRouter(tags=["mail"])

MailPath = Annotated[
    str, Path(alias="id", min_length=1, max_length=64, description="the mail's opaque id")
]
_OURS = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ASK = """\
<p>You will get no more mails from this sender.</p>
<form method="post"><button type="submit">Unsubscribe</button></form>"""
_DONE = """\
<p role="status">You will get no more mails from this sender.</p>"""


@router.get("/u/{id}", response_class=HTMLResponse, responses=problems(closed=False))
@public
async def ask_to_unsubscribe(mail: MailPath) -> HTMLResponse:  # noqa: ARG001
    """A page with a button; opening it changes nothing, since scanners open every link."""
    return plain_page("Unsubscribe", _ASK)


@router.post("/u/{id}", response_class=HTMLResponse, responses=problems(413, closed=False))
@public
async def unsubscribe_now(mail: MailPath, database: DatabaseDep) -> HTMLResponse:
    """One-click unsubscribe (RFC 8058): no cookie, no question; any body, any id, one answer."""
    if _OURS.fullmatch(mail):
        with tenancy.system():
            async with database.session() as session:
                found = await mail_messages.by_tracking_id(session, mail)
        if found is not None:
            tenancy.enter(found.workspace)
            async with database.session() as session:
                await unsubscribe(session, mail)
    return plain_page("You are unsubscribed", _DONE)
