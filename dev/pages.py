"""The mailbox as a page: /dev/mailbox lists the mails, /dev/mailbox/N shows one."""

from html import escape

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from dev.mailbox import Mail, Mailbox

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">{refresh}<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd }}
pre {{ white-space: pre-wrap; background: #f6f6f6; padding: 1rem }}
iframe {{ width: 100%; height: 24rem; border: 1px solid #ddd }}
</style></head><body>{body}</body></html>"""
# Mails come from definitions: nothing in them may run or load anything.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'",
    "Referrer-Policy": "no-referrer",
}


def mailbox_pages(mailbox: Mailbox) -> Starlette:
    """Build the pages; they answer to loopback names only, since they ask for no key."""

    async def inbox(_: Request) -> HTMLResponse:
        rows = "".join(
            _row(number, mail) for number, mail in reversed(list(enumerate(mailbox.messages)))
        )
        head = "<tr><th>Received</th><th>To</th><th>Subject</th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else "<p>No mail yet.</p>"
        return _answer("Mailbox", f"<h1>Mailbox</h1>{table}", refresh=True)

    async def one(request: Request) -> HTMLResponse:
        number = request.path_params["number"]
        if number >= len(mailbox.messages):
            raise HTTPException(404, "there is no such mail")
        return _answer(*_shown(mailbox.messages[number]))

    return Starlette(
        routes=[Route("/mailbox", inbox), Route("/mailbox/{number:int}", one)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def _row(number: int, mail: Mail) -> str:
    to = escape(", ".join(mail.recipients))
    link = f'<a href="mailbox/{number}">{escape(mail.subject) or "(no subject)"}</a>'
    return f"<tr><td>{mail.received_at:%Y-%m-%d %H:%M:%S}</td><td>{to}</td><td>{link}</td></tr>"


def _shown(mail: Mail) -> tuple[str, str]:
    heads = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in mail.message.items()
    )
    frame = f'<h2>HTML</h2><iframe sandbox srcdoc="{escape(mail.html)}"></iframe>'
    return mail.subject, (
        f'<p><a href="../mailbox">Mailbox</a></p><h1>{escape(mail.subject)}</h1>'
        f"<table>{heads}</table><h2>Text</h2><pre>{escape(mail.text)}</pre>"
        f"{frame if mail.html else ''}"
    )


def _answer(title: str, body: str, *, refresh: bool = False) -> HTMLResponse:
    again = '<meta http-equiv="refresh" content="3">' if refresh else ""
    text = _PAGE.format(title=escape(title), body=body, refresh=again)
    return HTMLResponse(text, headers=_HEADERS)
