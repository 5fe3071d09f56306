"""Bearer tokens of an OIDC issuer: signed JWTs (RFC 7519) whose keys its JWKS publishes.

Three algorithms and no other: what the token says about its algorithm is compared with what its
key is for, so that neither `none` nor a public key taken for an HMAC secret passes (RFC 8725).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from api.identity import UnauthorizedError
from api.jwks import KeySet

# Seconds that clocks may differ.
LEEWAY = 60.0
MAX_BYTES = 16 * 1024
# The year 9000: what lies beyond is a mistake, and no datetime.
_LAST = 221_845_392_000


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
        with _told():
            header = jwt.get_unverified_header(token)
        if "crit" in header:
            raise UnauthorizedError("the token asks for extensions that nobody knows here")
        key = await self._keys.find(header.get("kid"), header.get("alg"))
        with _told():
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self.config.issuer,
                audience=self.config.audience,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "exp", "sub"]},
            )
        if claims["exp"] > _LAST:
            raise UnauthorizedError("the token's 'exp' is no time")
        subject = claims["sub"]
        if not 0 < len(subject) <= 255 or not subject.isprintable():
            raise UnauthorizedError("the token names nobody in 'sub'")
        return claims

    def ends_at(self, claims: dict[str, Any]) -> datetime:
        """Give the moment from which a token is no good any more."""
        return datetime.fromtimestamp(claims["exp"] + LEEWAY, UTC)


@contextmanager
def _told() -> Iterator[None]:
    """Say what is wrong with a token in our words: the library's name the key, or nothing."""
    try:
        yield
    except jwt.ExpiredSignatureError as error:
        raise UnauthorizedError("the token has expired") from error
    except jwt.ImmatureSignatureError as error:
        raise UnauthorizedError("the token is not valid yet") from error
    except jwt.InvalidIssuerError as error:
        raise UnauthorizedError("the token is of another issuer") from error
    except jwt.InvalidAudienceError as error:
        raise UnauthorizedError("the token is made for somebody else") from error
    except jwt.InvalidSignatureError as error:
        raise UnauthorizedError("the token's signature is wrong") from error
    except jwt.MissingRequiredClaimError as error:
        raise UnauthorizedError(f"the token has no {error.claim!r}") from error
    except (jwt.InvalidTokenError, RecursionError, ValueError, OverflowError) as error:
        raise UnauthorizedError(f"the token is malformed: {error}") from error
