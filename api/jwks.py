"""The public keys of an OIDC issuer (RFC 7517), fetched when they are needed and kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from api.identity import UnauthorizedError
from schemas.errors import ErrorCode, UnavailableError

# Seconds: keys are fetched anew after the first, and for a `kid` nobody knows at most this often.
FRESH = 3600.0
AGAIN = 60.0
AFTER_FAULT = 5.0
# Keys of a set that is old are used so long while the issuer does not answer.
STALE = 24 * 3600.0
MIN_RSA_BITS = 2048
MAX_KEYS = 100
ALGORITHMS = ("RS256", "ES256", "EdDSA")
Fetch = Callable[[str], Awaitable[dict[str, Any]]]
_log = structlog.get_logger(__name__)


class IssuerAwayError(UnavailableError):
    """The issuer of tokens does not answer."""

    code = ErrorCode.HTTP_ERROR


class KeySet:
    """An issuer's keys by `kid`."""

    def __init__(
        self,
        issuer: str,
        url: str | None,
        fetch: Fetch,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch with `fetch` from `url`, or from where the issuer's discovery document says."""
        self._issuer = issuer
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: Any, algorithm: Any) -> jwt.PyJWK:
        """Give the key of a token's header; raises UnauthorizedError, IssuerAwayError."""
        if algorithm not in ALGORITHMS:
            raise UnauthorizedError(f"tokens are signed with one of {', '.join(ALGORITHMS)}")
        if kid is not None and not isinstance(kid, str):
            raise UnauthorizedError("the token is malformed")
        if self._old(FRESH) or kid not in self._keys:
            async with self._lock:
                if self._old(FRESH) or kid not in self._keys:
                    await self._refresh()
        key = self._keys.get(kid)
        if key is None:
            if self._fetched_at is None:
                raise IssuerAwayError(
                    "the issuer's keys cannot be fetched", retry_after=AFTER_FAULT
                )
            raise UnauthorizedError("the token is signed with a key that the issuer does not have")
        if key.algorithm_name != algorithm:
            raise UnauthorizedError("the token's algorithm is not that of its key")
        return key

    def _old(self, age: float) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= age

    async def _refresh(self) -> None:
        moment = self._clock()
        if self._tried_at is not None and moment - self._tried_at < AGAIN:
            return
        self._tried_at = moment
        try:
            url = self._url or await self._discover()
            found = read_keys(await self._fetch(url))
        except (IssuerAwayError, ValueError) as error:
            _log.warning("keys_not_fetched", issuer=self._issuer, error=str(error))
            self._tried_at = moment - AGAIN + AFTER_FAULT
            if self._old(STALE):
                self._keys, self._fetched_at = {}, None
            return
        self._keys, self._fetched_at = found, moment

    async def _discover(self) -> str:
        """Ask the issuer where its keys are (OpenID Connect Discovery 1.0, section 4)."""
        base = self._issuer.rstrip("/")
        document = await self._fetch(f"{base}/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer or not isinstance(document.get("jwks_uri"), str):
            raise ValueError("the discovery document is of another issuer, or names no keys")
        return document["jwks_uri"]


def read_keys(document: dict[str, Any]) -> dict[str | None, jwt.PyJWK]:
    """Read the signing keys of a JWKS that are of use here; raises ValueError without any."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("the key set holds no list of keys")
    found: dict[str | None, jwt.PyJWK] = {}
    for entry in entries[:MAX_KEYS]:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        key = _read(entry)
        if key is not None:
            found[entry.get("kid")] = key
    if not found:
        raise ValueError("the key set holds no key that tokens may be signed with")
    if len(found) == 1:
        # The only key need not be named.
        found.setdefault(None, next(iter(found.values())))
    return found


def _read(entry: dict[str, Any]) -> jwt.PyJWK | None:
    try:
        found = jwt.PyJWK.from_dict(entry)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
        # Others may be good.
        _log.info("key_not_usable", kid=str(entry.get("kid"))[:64], error=type(error).__name__)
        return None
    key = found.key
    if found.algorithm_name not in ALGORITHMS or isinstance(key, ed448.Ed448PublicKey):
        return None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        return None
    # A private or symmetric key has no place in a set that is public.
    public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    return found if isinstance(key, public) else None
