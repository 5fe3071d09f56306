"""A browser's session at the codec server: a credential, sealed into a cookie that ends by itself.

Temporal's Web UI has no place for an API key: it sends the access token of its own sign-in, or the
cookies of the codec server. What is sealed here is asked like any other credential at each use, so
a key that is revoked opens nothing any more, whatever cookies there are.
"""

import base64
import binascii
from datetime import datetime, timedelta

from fastapi import Request, Response

from api.config import ApiConfig
from api.identity import UnauthorizedError
from db.base import now
from schemas.errors import LimitError
from schemas.keyring import KeyRing, Sealed, SealError
from workflows.gateway import Gateway

COOKIE = "sojourn_codec"
# The one path that browsers send it to, and the one operation that takes it: it can read, no more.
PATH = "/api/v1/codec/decode"
OPERATION = "decode_payloads"
LIFETIME = timedelta(hours=8)
_BINDING = b"sojourn.codec-session.1"
# Browsers keep 4,096 bytes of name, value and attributes.
_MAX_VALUE = 3_800


def seal_session(ring: KeyRing, credential: str, ends_at: datetime) -> str:
    """Give the cookie's value; raises LimitError for a credential that fits into none."""
    plain = f"{int(ends_at.timestamp())} {credential}".encode("utf-8", "surrogateescape")
    sealed = ring.seal(plain, _BINDING)
    value = f"{sealed.key_id}:{base64.urlsafe_b64encode(sealed.data).decode().rstrip('=')}"
    if len(value) > _MAX_VALUE:
        raise LimitError("this credential is too long for a cookie")
    return value


def open_session(ring: KeyRing, value: str, moment: datetime) -> str:
    """Give the credential of a cookie's value; raises UnauthorizedError."""
    key_id, _, text = value.partition(":")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        plain = ring.open(Sealed(key_id, data), _BINDING)
    except (SealError, binascii.Error, ValueError):
        raise UnauthorizedError("the codec server's cookie is not a good one") from None
    ends_at, _, credential = plain.decode("utf-8", "surrogateescape").partition(" ")
    if int(ends_at) <= moment.timestamp():
        raise UnauthorizedError(
            "the session has ended", hint="sign in again at /api/v1/codec/sign-in"
        )
    return credential


def given_by(request: Request) -> str | None:
    """Give the credential that a request's cookie holds, None where there is none that counts.

    It counts for opening payloads, and for pages of the Web UI's origin: a browser sends cookies
    along with what any page asks for, and says truly which page that is.
    """
    config: ApiConfig = request.app.state.config
    value = request.cookies.get(COOKIE)
    if value is None or request.scope["route"].name != OPERATION:
        return None
    if config.temporal_ui_origin is None or request.headers.get("origin") != (
        config.temporal_ui_origin
    ):
        return None
    gateway: Gateway = request.app.state.gateway
    codec = gateway.payloads.codec
    return None if codec is None else open_session(codec.ring, value, now())


def set_cookie(answer: Response, value: str, *, secure: bool) -> None:
    """Give a browser the cookie; pages of other sites never get it sent along."""
    answer.set_cookie(
        COOKIE,
        value,
        max_age=int(LIFETIME.total_seconds()),
        path=PATH,
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def clear_cookie(answer: Response, *, secure: bool) -> None:
    """Take the cookie back."""
    answer.delete_cookie(COOKIE, path=PATH, secure=secure, httponly=True, samesite="strict")
