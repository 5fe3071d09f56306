"""An OIDC issuer on loopback: discovery, a key set that tests change, and tokens it signs."""

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from api.jwks import Fetch, KeySet
from api.tokens import Issuer, OidcConfig

AUDIENCE = "sojourn"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_ALGORITHMS = {
    rsa.RSAPrivateKey: "RS256",
    ec.EllipticCurvePrivateKey: "ES256",
    ed25519.Ed25519PrivateKey: "EdDSA",
}


def base64url(data: bytes) -> str:
    """Encode as JOSE does."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def encode(value: Any) -> str:
    """Encode JSON as a part of a token."""
    return base64url(json.dumps(value).encode())


def algorithm_of(key: Private) -> str:
    """The algorithm that a key signs with."""
    return next(name for kind, name in _ALGORITHMS.items() if isinstance(key, kind))


def sign(key: Private | bytes, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Make a token; bytes are the secret of an HMAC, whatever the header says."""
    signed = f"{encode(header)}.{encode(claims)}".encode()
    if isinstance(key, bytes):
        mac = hmac.HMAC(key, hashes.SHA256())
        mac.update(signed)
        signature = mac.finalize()
    elif isinstance(key, rsa.RSAPrivateKey):
        digest = hashes.SHA512() if header.get("alg") == "RS512" else hashes.SHA256()
        signature = key.sign(signed, padding.PKCS1v15(), digest)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        signature = key.sign(signed)
    return f"{signed.decode()}.{base64url(signature)}"


def _number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _jwk(key: Private, kid: str) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        found = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        x, y = (base64url(value.to_bytes(32, "big")) for value in (point.x, point.y))
        found = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    else:
        found = {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
    return {**found, "kid": kid, "use": "sig", "alg": algorithm_of(key)}


class LoopbackIssuer:
    """The issuer, with a key of each kind, and `checker`, which checks its tokens."""

    def __init__(self, server: HTTPServer, fetch: Fetch) -> None:
        """Serve discovery and keys on `server`."""
        self.url = server.url_for("").rstrip("/")
        self.private: dict[str, Private] = {
            "rs": rsa.generate_private_key(65537, 2048),
            "es": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }
        self.fetched = 0
        self.away = False
        self.body: str | None = None
        self.clock = 1000.0
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        server.expect_request("/.well-known/openid-configuration").respond_with_json(discovery)
        server.expect_request("/keys").respond_with_handler(self._keys)
        self.config = OidcConfig(self.url, AUDIENCE)
        keys = KeySet(self.url, None, fetch, clock=lambda: self.clock)
        self.checker = Issuer(self.config, keys)

    def _keys(self, _: Request) -> Response:
        self.fetched += 1
        if self.away:
            return Response(status=503)
        return Response(self.document() if self.body is None else self.body)

    def document(self, key: Private | None = None, kid: str = "") -> str:
        """The key set, or one of a single key."""
        private = self.private if key is None else {kid: key}
        return json.dumps({"keys": [_jwk(each, name) for name, each in private.items()]})

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Good claims with changes; None takes one away."""
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": time.time(),
            "exp": time.time() + 300,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, name: str, kid: str | None = None, **changed: Any) -> str:
        """A token signed with the key of this name."""
        key = self.private[name]
        header = {"alg": algorithm_of(key), "kid": kid or name, "typ": "JWT"}
        return sign(key, header, self.claims(**changed))
