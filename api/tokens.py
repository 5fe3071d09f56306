"""Bearer tokens of an OIDC issuer: signed JWTs (RFC 7519) whose keys its JWKS publishes.

Three algorithms and no other: what the token says about its algorithm is compared with what its
key is for, so that neither `none` nor a public key taken for an HMAC secret passes (RFC 8725).
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.identity import UnauthorizedError
from api.jwks import KeySet
from db.base import now

# Seconds that clocks may differ.
LEEWAY = 60.0
MAX_BYTES = 16 * 1024


@dataclass(frozen=True)
class OidcConfig:
    """Whose tokens are taken, for whom they must be made, and what their claims are named."""

    issuer: str
    audience: str
    jwks_url: str | None = None
    workspace_claim: str = "sojourn_workspace"
    role_claim: str = "sojourn_role"


class Issuer:
    """Checks tokens of one issuer."""

    def __init__(self, config: OidcConfig, keys: KeySet) -> None:
        """Fetch nothing yet."""
        self.config = config
        self._keys = keys

    async def verify(self, token: str) -> dict[str, Any]:
        """Give a token's claims; raises UnauthorizedError, IssuerAwayError without the keys."""
        if len(token) > MAX_BYTES:
            raise UnauthorizedError("the token is too large")
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        header = _object(head)
        if "crit" in header:
            raise UnauthorizedError("the token asks for extensions that nobody knows here")
        key = await self._keys.find(header.get("kid"), header.get("alg"))
        if not key.verifies(signed.encode(), _bytes(signature)):
            raise UnauthorizedError("the token's signature is wrong")
        claims = _object(payload)
        self._check(claims)
        return claims

    def ends_at(self, claims: dict[str, Any]) -> datetime:
        """Give the moment from which a token is no good any more."""
        return datetime.fromtimestamp(min(claims["exp"] + LEEWAY, 253402300799), UTC)

    def _check(self, claims: dict[str, Any]) -> None:
        moment = now().timestamp()
        if claims.get("iss") != self.config.issuer:
            raise UnauthorizedError("the token is of another issuer")
        audience = claims.get("aud")
        if self.config.audience not in (audience if isinstance(audience, list) else [audience]):
            raise UnauthorizedError("the token is made for somebody else")
        expires, begins = _number(claims, "exp"), _number(claims, "nbf", 0.0)
        _number(claims, "iat", 0.0)
        if moment >= expires + LEEWAY:
            raise UnauthorizedError("the token has expired")
        if moment < begins - LEEWAY:
            raise UnauthorizedError("the token is not valid yet")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
            raise UnauthorizedError("the token names nobody in 'sub'")


def _number(claims: dict[str, Any], name: str, otherwise: float | None = None) -> float:
    value = claims.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12:
        raise UnauthorizedError(f"the token's {name!r} is missing or no time")
    return float(value)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnauthorizedError("the token is malformed") from error


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(text))
    except (ValueError, RecursionError) as error:
        raise UnauthorizedError("the token is malformed") from error
    if not isinstance(value, dict):
        raise UnauthorizedError("the token is malformed")
    return value
