"""What senders of webhooks do: bodies with ids, and the headers that sign them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook

SECRET = "a-secret-that-both-sides-know"
STANDARD_SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()

CUSTOM = {
    "scheme": "hmac",
    "secrets": ["hook"],
    "header": "X-Signature",
    "algorithm": "sha512",
    "encoding": "base64",
    "prefix": "v2=",
    "timestamp_header": "X-Sent-At",
    "id_header": "X-Delivery",
    "signed": "{timestamp}|{id}|{body}",
}
BARE = {"scheme": "hmac", "secrets": ["hook"], "header": "X-Signature", "id_header": "X-Delivery"}


@dataclass(frozen=True)
class Sent:
    """A delivery as it goes out."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Preset:
    """A sender: what a trigger says of it, its secret, and how it signs."""

    verify: dict[str, Any]
    secret: str
    send: Callable[[str, bytes, str, datetime], dict[str, str]]
    timed: bool = True
    id_field: str | None = None
    id_header: str | None = None

    def deliver(
        self,
        identity: str,
        data: dict[str, Any],
        moment: datetime,
        *,
        secret: str | None = None,
    ) -> Sent:
        """Make a delivery of JSON data that was signed at `moment`."""
        if self.id_field is not None:
            data = {self.id_field: identity, **data}
        body = json.dumps(data).encode()
        headers = self.send(secret or self.secret, body, identity, moment)
        return Sent({"content-type": "application/json", **headers}, body)


def _mac(secret: str, signed: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), signed, getattr(hashlib, algorithm)).digest()


def _standard(secret: str, body: bytes, identity: str, moment: datetime) -> dict[str, str]:
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(identity, moment, body.decode()),
    }


def _github(secret: str, body: bytes, identity: str, _: datetime) -> dict[str, str]:
    return {
        "x-github-event": "push",
        "x-github-delivery": identity,
        "x-hub-signature-256": f"sha256={_mac(secret, body).hex()}",
    }


def _stripe(secret: str, body: bytes, _: str, moment: datetime) -> dict[str, str]:
    time = str(int(moment.timestamp()))
    signature = _mac(secret, time.encode() + b"." + body).hex()
    return {"stripe-signature": f"t={time},v0={'0' * 64},v1={signature}"}


def _slack(secret: str, body: bytes, _: str, moment: datetime) -> dict[str, str]:
    time = str(int(moment.timestamp()))
    signature = _mac(secret, f"v0:{time}:".encode() + body).hex()
    return {"x-slack-request-timestamp": time, "x-slack-signature": f"v0={signature}"}


def _custom(secret: str, body: bytes, identity: str, moment: datetime) -> dict[str, str]:
    time = str(int(moment.timestamp()))
    signature = _mac(secret, f"{time}|{identity}|".encode() + body, "sha512")
    encoded = base64.b64encode(signature).decode()
    return {"x-sent-at": time, "x-delivery": identity, "x-signature": f"v2={encoded}"}


def _bare(secret: str, body: bytes, identity: str, _: datetime) -> dict[str, str]:
    return {"x-delivery": identity, "x-signature": _mac(secret, body).hex()}


PRESETS: dict[str, Preset] = {
    "standard": Preset({"scheme": "standard", "secrets": ["hook"]}, STANDARD_SECRET, _standard),
    "github": Preset(
        {"scheme": "github", "secrets": ["hook"]},
        SECRET,
        _github,
        timed=False,
        id_header="x-github-delivery",
    ),
    "stripe": Preset({"scheme": "stripe", "secrets": ["hook"]}, SECRET, _stripe, id_field="id"),
    "slack": Preset({"scheme": "slack", "secrets": ["hook"]}, SECRET, _slack, id_field="event_id"),
    "hmac": Preset(CUSTOM, SECRET, _custom),
    "bare": Preset(BARE, SECRET, _bare, timed=False, id_header="x-delivery"),
}
