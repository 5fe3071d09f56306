"""Signatures of deliveries: whether a body comes from who has the secret, and when it was signed.

A pure function over each scheme; digests are compared in constant time, and against every secret,
so that the time taken tells nothing of which one fits.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from api.auth import UnauthorizedError
from schemas.errors import ErrorCode, InputError, SojournError
from schemas.webhook_bodies import read_json
from schemas.webhooks import (
    GithubScheme,
    HmacScheme,
    NoScheme,
    Scheme,
    SlackScheme,
    StandardScheme,
    StripeScheme,
)

_SECONDS = re.compile(r"[0-9]{9,11}")
_MILLISECONDS = re.compile(r"[0-9]{12,14}")


class SignatureError(UnauthorizedError):
    """A delivery is not signed, not rightly, or not lately."""


class SchemeError(SojournError):
    """The stored secrets of a trigger cannot be used: its owner must mend them."""

    code = ErrorCode.INTERNAL


@dataclass(frozen=True)
class Proof:
    """What a delivery has proved: its id, whether the signature covers that, and its time."""

    id: str | None = None
    id_signed: bool = False
    timestamp: str | None = None


def verify(
    scheme: Scheme,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    moment: datetime,
) -> Proof:
    """Verify a delivery; `headers` by lower-case name, `moment` is now, aware.

    Raises SignatureError, and SchemeError for secrets that are of no use to the scheme.
    """
    match scheme:
        case NoScheme():
            return Proof(headers.get(scheme.id_header) or None)
        case StandardScheme():
            return _standard(scheme, secrets, headers, body, moment)
        case GithubScheme():
            given = _header(headers, "x-hub-signature-256").removeprefix("sha256=")
            _compare(secrets, body, "sha256", [_unhex(given)])
            return Proof(headers.get("x-github-delivery") or None)
        case StripeScheme():
            return _stripe(scheme, secrets, headers, body, moment)
        case SlackScheme():
            time = _header(headers, "x-slack-request-timestamp")
            _check_time(time, moment, scheme.tolerance)
            given = _header(headers, "x-slack-signature").removeprefix("v0=")
            _compare(secrets, b"v0:" + time.encode() + b":" + body, "sha256", [_unhex(given)])
            return Proof(_field(body, "event_id"), id_signed=True, timestamp=time)
        case HmacScheme():
            return _hmac(scheme, secrets, headers, body, moment)
        case _:
            assert_never(scheme)


def _standard(
    scheme: StandardScheme,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    moment: datetime,
) -> Proof:
    identity, time = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    signed_at = _check_time(time, moment, scheme.tolerance)
    given = [
        _unbase64(signature)
        for version, _, signature in (
            part.partition(",") for part in _header(headers, "webhook-signature").split()
        )
        if version == "v1"
    ]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise SignatureError("Standard Webhooks sign text; the body is no UTF-8") from None
    try:
        expected = [
            _unbase64(Webhook(secret).sign(identity, signed_at, text).removeprefix("v1,"))
            for secret in secrets
        ]
    except (ValueError, EmptyWebhookSecretError) as error:
        raise SchemeError("a secret is not of Standard Webhooks: whsec_ and base64") from error
    _match(expected, given)
    return Proof(identity, id_signed=True, timestamp=time)


def _stripe(
    scheme: StripeScheme,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    moment: datetime,
) -> Proof:
    pairs = [
        (name.strip(), value.strip())
        for name, _, value in (
            part.partition("=") for part in _header(headers, "stripe-signature").split(",")
        )
    ]
    time = next((value for name, value in pairs if name == "t"), "")
    _check_time(time, moment, scheme.tolerance)
    given = [_unhex(value) for name, value in pairs if name == "v1"]
    _compare(secrets, time.encode() + b"." + body, "sha256", given)
    return Proof(_field(body, "id"), id_signed=True, timestamp=time)


def _hmac(
    scheme: HmacScheme,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    moment: datetime,
) -> Proof:
    identity = headers.get(scheme.id_header) or None if scheme.id_header else None
    time = None
    if scheme.timestamp_header is not None:
        time = _header(headers, scheme.timestamp_header)
        _check_time(time, moment, scheme.tolerance)
    values = {"timestamp": (time or "").encode(), "id": (identity or "").encode(), "body": body}
    names = scheme.parts[1::2]
    if "id" in names and identity is None:
        raise SignatureError(f"the header {scheme.id_header!r} is missing")
    signed = b"".join(
        values[part] if index % 2 else part.encode() for index, part in enumerate(scheme.parts)
    )
    given = _header(headers, scheme.header)
    if not given.startswith(scheme.prefix):
        raise SignatureError(f"the signature does not begin with {scheme.prefix!r}")
    given = given[len(scheme.prefix) :]
    decoded = _unhex(given) if scheme.encoding == "hex" else _unbase64(given)
    _compare(secrets, signed, scheme.algorithm, [decoded])
    return Proof(identity, id_signed="id" in names, timestamp=time)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise SignatureError(f"the header {name!r} is missing")
    return value


def _check_time(text: str, moment: datetime, tolerance: timedelta) -> datetime:
    if _SECONDS.fullmatch(text):
        signed_at = datetime.fromtimestamp(int(text), UTC)
    elif _MILLISECONDS.fullmatch(text):
        signed_at = datetime.fromtimestamp(int(text) / 1000, UTC)
    else:
        raise SignatureError("the time of the signature cannot be read")
    if abs(moment - signed_at) > tolerance:
        side = "old" if signed_at < moment else "new"
        raise SignatureError(f"the signature is too {side}; at most {tolerance} are allowed")
    return signed_at


def _compare(secrets: Sequence[str], signed: bytes, algorithm: str, given: list[bytes]) -> None:
    digest: Any = getattr(hashlib, algorithm)
    _match([hmac.new(secret.encode(), signed, digest).digest() for secret in secrets], given)


def _match(expected: list[bytes], given: list[bytes]) -> None:
    # Added up: no pair is left out once one fits.
    if not sum(hmac.compare_digest(one, other) for one in expected for other in given[:10]):
        raise SignatureError("the signature is wrong")


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _field(body: bytes, name: str) -> str | None:
    """Give a text of the body that the signature covers; None where there is none."""
    try:
        value = read_json(body.decode())
    except (InputError, UnicodeDecodeError):
        return None
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None
