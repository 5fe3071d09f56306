"""/u/{id}: where a mail's unsubscribe link leads; open to everybody, in HTML."""

import re
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse

from api.auth import public
from api.dependencies import DatabaseDep
from api.errors import problems
from db import mail_messages, tenancy
from db.unsubscribing import unsubscribe

router = APIRouter(tags=["mail"])

MailPath = Annotated[
    str, Path(alias="id", min_length=1, max_length=64, description="the mail's opaque id")
]
_OURS = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "X-Robots-Tag": "noindex",
}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unsubscribe</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 26rem;
  padding: 0 1.5rem; }}
button {{ font: inherit; padding: .6rem 1.2rem; cursor: pointer; }}
</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""
_ASK = """\
<h1>Unsubscribe</h1>
<p>You will get no more mails from this sender.</p>
<form method="post"><button type="submit">Unsubscribe</button></form>"""
_DONE = """\
<h1>You are unsubscribed</h1>
<p role="status">You will get no more mails from this sender.</p>"""


@router.get("/u/{id}", response_class=HTMLResponse, responses=problems(closed=False))
@public
async def ask_to_unsubscribe(mail: MailPath) -> HTMLResponse:  # noqa: ARG001
    """A page with a button; opening it changes nothing, since scanners open every link."""
    return _answer(_ASK)


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
    return _answer(_DONE)


def _answer(content: str) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(content=content), headers=_HEADERS)
