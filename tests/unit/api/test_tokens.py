"""Tokens of an issuer over a real loopback server: what passes, and all that must not."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pytest_httpserver import HTTPServer

from activities._client import guarded_client
from activities._ssrf import TargetPolicy
from api.fetching import fetcher
from api.identity import UnauthorizedError
from api.jwks import AFTER_FAULT, AGAIN, FRESH, STALE, IssuerAwayError, read_keys
from api.tokens import LEEWAY
from tests.servers.oidc_issuer import LoopbackIssuer, encode, sign


@pytest.fixture
async def issuer(httpserver: HTTPServer) -> AsyncIterator[LoopbackIssuer]:
    """An issuer with a key of each kind, and a checker that fetches its keys."""
    policy = TargetPolicy.of(("127.0.0.0/8",), tuple(range(1024, 65536)))
    async with guarded_client(policy) as client:
        yield LoopbackIssuer(httpserver, fetcher(lambda: client))


@pytest.mark.parametrize("kid", ["rs", "es", "ed"])
async def test_good_tokens_of_each_algorithm(issuer: LoopbackIssuer, kid: str) -> None:
    claims = await issuer.checker.verify(issuer.token(kid, sub="ada"))
    assert claims["sub"] == "ada"
    listed = await issuer.checker.verify(issuer.token(kid, aud=["other", "sojourn"]))
    assert listed["aud"] == ["other", "sojourn"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"iss": "https://other.example.com"}, "another issuer"),
        ({"iss": None}, "no 'iss'"),
        ({"aud": "other"}, "somebody else"),
        ({"aud": ["other"]}, "somebody else"),
        ({"aud": None}, "no 'aud'"),
        ({"exp": time.time() - LEEWAY - 1}, "expired"),
        ({"exp": None}, "'exp'"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "expired"),
        ({"exp": 1e300}, "'exp'"),
        ({"nbf": time.time() + 86_400}, "not valid yet"),
        ({"nbf": "later"}, "nbf"),
        ({"sub": None}, "'sub'"),
        ({"sub": ""}, "'sub'"),
        ({"sub": 7}, "Subject"),
        ({"sub": "a\nb"}, "'sub'"),
        ({"sub": "x" * 256}, "'sub'"),
    ],
)
async def test_claims_that_do_not_pass(
    issuer: LoopbackIssuer, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(UnauthorizedError, match=told):
        await issuer.checker.verify(issuer.token("rs", **changed))


async def test_clocks_may_differ_by_the_leeway(issuer: LoopbackIssuer) -> None:
    late = issuer.token("es", exp=time.time() - LEEWAY + 10)
    early = issuer.token("es", nbf=time.time() + LEEWAY - 10)
    assert await issuer.checker.verify(late)
    assert await issuer.checker.verify(early)


async def test_signatures_that_do_not_pass(issuer: LoopbackIssuer) -> None:
    good = issuer.token("rs")
    head, payload, signature = good.split(".")
    public = issuer.private["rs"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other = rsa.generate_private_key(65537, 2048)
    forged = {
        "none": f"{encode({'alg': 'none', 'kid': 'rs'})}.{payload}.",
        "None": f"{encode({'alg': 'None', 'kid': 'rs'})}.{payload}.",
        "no alg": f"{encode({'kid': 'rs'})}.{payload}.{signature}",
        # The classic: the public key as the secret of an HMAC.
        "HS256": sign(pem, {"alg": "HS256", "kid": "rs"}, issuer.claims()),
        "RS512": sign(issuer.private["rs"], {"alg": "RS512", "kid": "rs"}, issuer.claims()),
        "another key's algorithm": f"{encode({'alg': 'ES256', 'kid': 'rs'})}.{payload}.{signature}",
        "another key": sign(other, {"alg": "RS256", "kid": "rs"}, issuer.claims()),
        "no signature": f"{head}.{payload}.",
        "cut": good[:-2],
        "another payload": f"{head}.{encode(issuer.claims(sub='eve'))}.{signature}",
        "crit": sign(
            issuer.private["rs"], {"alg": "RS256", "kid": "rs", "crit": ["x"]}, issuer.claims()
        ),
        "list of kids": f"{encode({'alg': 'RS256', 'kid': ['rs']})}.{payload}.{signature}",
        "zero ES256": f"{encode({'alg': 'ES256', 'kid': 'es'})}.{payload}."
        + base64.urlsafe_b64encode(bytes(64)).decode().rstrip("="),
        "no JSON": f"{head}.{base64.urlsafe_b64encode(b'{').decode()}.{signature}",
        "no object": f"{encode([])}.{payload}.{signature}",
        "no base64": f"!{head}.{payload}.{signature}",
        "deep": f"{encode('x')[:0]}{base64.urlsafe_b64encode(b'[' * 9000).decode()}.a.b",
        "large": good + "A" * 20_000,
        "embedded key": sign(
            other,
            {"alg": "RS256", "jwk": json.loads(issuer.document(other, "x"))["keys"][0]},
            issuer.claims(),
        ),
    }
    for name, token in forged.items():
        with pytest.raises(UnauthorizedError):
            assert not await issuer.checker.verify(token), name
    assert await issuer.checker.verify(good)
    # Nothing of the token names where keys are fetched from.
    assert issuer.fetched == 1


async def test_keys_are_kept_and_an_unknown_one_fetches_once_a_minute(
    issuer: LoopbackIssuer,
) -> None:
    for _ in range(5):
        await issuer.checker.verify(issuer.token("rs"))
    assert issuer.fetched == 1
    for _ in range(5):
        with pytest.raises(UnauthorizedError, match="does not have"):
            await issuer.checker.verify(issuer.token("rs", kid="nobody's"))
    assert issuer.fetched == 1
    issuer.clock += AGAIN
    fresh = rsa.generate_private_key(65537, 2048)
    issuer.private["new"] = fresh
    assert await issuer.checker.verify(issuer.token("new"))
    assert issuer.fetched == 2
    del issuer.private["rs"]
    issuer.clock += FRESH
    assert await issuer.checker.verify(issuer.token("new"))
    assert issuer.fetched == 3
    with pytest.raises(UnauthorizedError, match="does not have"):
        await issuer.checker.verify(sign(fresh, {"alg": "RS256", "kid": "rs"}, issuer.claims()))


async def test_while_the_issuer_is_away(issuer: LoopbackIssuer) -> None:
    issuer.away = True
    with pytest.raises(IssuerAwayError):
        await issuer.checker.verify(issuer.token("rs"))
    issuer.away = False
    issuer.clock += AFTER_FAULT
    assert await issuer.checker.verify(issuer.token("rs"))
    issuer.away = True
    issuer.clock += FRESH
    assert await issuer.checker.verify(issuer.token("rs"))
    issuer.clock += STALE
    with pytest.raises(IssuerAwayError):
        await issuer.checker.verify(issuer.token("rs"))


@pytest.mark.parametrize(
    "body", ["[]", "{}", "not json", '{"keys": 1}', '{"keys": []}', "x" * 600_000]
)
async def test_documents_that_hold_no_keys(issuer: LoopbackIssuer, body: str) -> None:
    issuer.body = body
    with pytest.raises(IssuerAwayError):
        await issuer.checker.verify(issuer.token("rs"))


def test_keys_that_are_of_no_use_are_left_out(issuer: LoopbackIssuer) -> None:
    good = json.loads(issuer.document())["keys"]
    weak = json.loads(issuer.document(rsa.generate_private_key(65537, 1024), "weak"))["keys"]
    odd: list[Any] = [
        None,
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {"kty": "RSA", "kid": "empty"},
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "521"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"},
        {**good[0], "use": "enc", "kid": "enc"},
        {**good[0], "alg": "PS256", "kid": "ps"},
    ]
    assert set(read_keys({"keys": [*odd, *weak, *good]})) == {"rs", "es", "ed"}
    with pytest.raises(ValueError, match="no key"):
        read_keys({"keys": [*odd, *weak]})
