"""/codec/sign-in: where a person with an API key lets Temporal's Web UI read payloads."""

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, BackgroundTasks, Request
from fastapi.responses import HTMLResponse

from api.auth import public
from api.authorization import in_scope, least_of
from api.codec_session import LIFETIME, OPERATION, clear_cookie, seal_session, set_cookie
from api.config import ApiConfig
from api.credentials import Credentials
from api.dependencies import ConfigDep, DatabaseDep, GatewayDep
from api.identity import ForbiddenError, Identity, UnauthorizedError
from api.plain_page import plain_page
from api.raw_body import read_body
from db import audit, tenancy
from db.base import now
from schemas.errors import ConflictError, InputError
from workflows.gateway import Gateway

router = APIRouter(include_in_schema=False, prefix="/codec")

MAX_BYTES = 8 * 1024
_SCOPE = "process:write"
_TITLE = "Payloads in Temporal's Web UI"
_ASK = """\
{said}
<p>With an API key the pages of <code>{origin}</code> can read the payloads of the key's workspace
in this browser, for {hours} hours.</p>
<form method="post" action="sign-in">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="off" required autofocus>
<button type="submit">Sign in</button>
</form>"""
_SIGNED_IN = """\
<p role="status">Signed in as <code>{actor}</code> of the workspace <code>{workspace}</code>,
until {until}.</p>
<p>In the Web UI set the codec server to <code>{endpoint}</code>, and let it include cross-origin
credentials.</p>
<form method="post" action="sign-out"><button type="submit">Sign out</button></form>"""


@router.get("/sign-in")
@public
async def show_codec_sign_in(config: ConfigDep, gateway: GatewayDep) -> HTMLResponse:
    """The page."""
    return _ask(_origin(config, gateway))


@router.post("/sign-in")
@public
async def sign_in_to_codec(
    request: Request,
    config: ConfigDep,
    gateway: GatewayDep,
    database: DatabaseDep,
    after: BackgroundTasks,
) -> HTMLResponse:
    """Give a browser a cookie that opens payloads, for a credential that may."""
    origin = _origin(config, gateway)
    _refuse_other_pages(request)
    body = await read_body(request, MAX_BYTES)
    given = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
    credentials: Credentials = request.app.state.credentials
    address = request.client.host if request.client is not None else "unknown"
    try:
        if not given:
            raise UnauthorizedError("the API key is missing")
        identity = await credentials.identify(given, address, after)
        _refuse_less(identity, config)
    except (UnauthorizedError, ForbiddenError) as error:
        return _ask(origin, f"{error.message[:1].upper()}{error.message[1:]}.", status=403)
    codec = gateway.payloads.codec
    assert codec is not None, "asked above"
    ends_at = now() + LIFETIME
    value = seal_session(codec.ring, given, ends_at)
    tenancy.enter(identity.workspace)
    async with database.session() as session:
        audit.add(
            session,
            identity.workspace,
            actor=identity.actor,
            action="codec.sign_in",
            subject=identity.actor,
            data={"until": ends_at.isoformat(timespec="seconds")},
        )
    here = (config.public_url or str(request.base_url)).rstrip("/")
    answer = plain_page(
        _TITLE,
        _SIGNED_IN.format(
            actor=escape(identity.actor),
            workspace=escape(identity.workspace),
            until=f"{ends_at:%Y-%m-%d %H:%M} UTC",
            endpoint=escape(f"{here}/api/v1/codec"),
        ),
    )
    set_cookie(answer, value, secure=_secure(request, config))
    return answer


@router.post("/sign-out")
@public
async def sign_out_of_codec(
    request: Request, config: ConfigDep, gateway: GatewayDep
) -> HTMLResponse:
    """Take the cookie back."""
    origin = _origin(config, gateway)
    _refuse_other_pages(request)
    answer = _ask(origin, "You are signed out.")
    clear_cookie(answer, secure=_secure(request, config))
    return answer


def _origin(config: ApiConfig, gateway: Gateway) -> str:
    """Give the Web UI's origin; raises ConflictError where there is nothing to sign in for."""
    if config.temporal_ui_origin is None or gateway.payloads.codec is None:
        raise ConflictError(
            "this installation lets no page of Temporal's Web UI read payloads",
            hint="set SOJOURN_PAYLOAD_KEYS and SOJOURN_TEMPORAL_UI_ORIGIN; see docs/encryption.md",
        )
    return config.temporal_ui_origin


def _refuse_other_pages(request: Request) -> None:
    """Raise InputError for a form that stands on somebody else's page.

    The Origin header does not tell: where no referrer is sent it is `null`.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise InputError("this form is filled in on its own page only")


def _refuse_less(identity: Identity, config: ApiConfig) -> None:
    least = least_of(OPERATION, identity, config)
    if not identity.role.at_least(least):
        raise ForbiddenError(
            f"this needs the role {least.value!r}, yours is {identity.role.value!r}"
        )
    if not in_scope(identity.scopes, _SCOPE):
        raise ForbiddenError(f"the key's scopes do not hold {_SCOPE!r}")


def _secure(request: Request, config: ApiConfig) -> bool:
    return request.url.scheme == "https" or (config.public_url or "").startswith("https://")


def _ask(origin: str, said: str = "", status: int = 200) -> HTMLResponse:
    content = _ASK.format(
        said=f'<p role="alert">{escape(said)}</p>' if said else "",
        origin=escape(origin),
        hours=int(LIFETIME.total_seconds() // 3600),
    )
    return plain_page(_TITLE, content, status=status)
