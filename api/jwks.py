"""The public keys of an OIDC issuer (RFC 7517), fetched when they are needed and kept."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

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


@dataclass(frozen=True)
class PublicKey:
    """One key, and the one algorithm that it is for."""

    algorithm: str
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, signed, padding.PKCS1v15(), SHA256())
            elif isinstance(self.key, ec.EllipticCurvePublicKey):
                if len(signature) != 64:
                    return False
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                self.key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
            else:
                self.key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


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
        self._keys: dict[str | None, PublicKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: Any, algorithm: Any) -> PublicKey:
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
        if key.algorithm != algorithm:
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


def read_keys(document: dict[str, Any]) -> dict[str | None, PublicKey]:
    """Read the signing keys of a JWKS that are of use here; raises ValueError without any."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("the key set holds no list of keys")
    found: dict[str | None, PublicKey] = {}
    for entry in entries[:MAX_KEYS]:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        key = _read(entry)
        if key is not None and entry.get("alg", key.algorithm) == key.algorithm:
            found[entry.get("kid")] = key
    if not found:
        raise ValueError("the key set holds no key that tokens may be signed with")
    if len(found) == 1:
        # The only key need not be named.
        found.setdefault(None, next(iter(found.values())))
    return found


def _read(entry: dict[str, Any]) -> PublicKey | None:
    try:
        kind = entry.get("kty"), entry.get("crv")
        if kind[0] == "RSA":
            key = rsa.RSAPublicNumbers(_int(entry["e"]), _int(entry["n"])).public_key()
            return PublicKey("RS256", key) if key.key_size >= MIN_RSA_BITS else None
        if kind == ("EC", "P-256"):
            numbers = ec.EllipticCurvePublicNumbers(
                _int(entry["x"]), _int(entry["y"]), ec.SECP256R1()
            )
            return PublicKey("ES256", numbers.public_key())
        if kind == ("OKP", "Ed25519"):
            key = ed25519.Ed25519PublicKey.from_public_bytes(_raw(entry["x"]))
            return PublicKey("EdDSA", key)
    except (KeyError, TypeError, ValueError, AttributeError):
        # A key that nobody can use is as if it were not there; others may be good.
        return None
    return None


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _int(text: str) -> int:
    return int.from_bytes(_raw(text), "big")
