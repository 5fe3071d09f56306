"""Receiving a delivery: the secrets of its trigger, and what proves it."""

from typing import Any

from fastapi import Request
from sqlmodel.ext.asyncio.session import AsyncSession

from api.signatures import Proof, SchemeError, verify
from db import secrets
from db.base import now
from schemas.keyring import KeyRing
from schemas.webhook_bodies import kept_headers
from schemas.webhooks import NoScheme, WebhookTrigger

# FastAPI cannot see a body that is read as a stream; this documents it.
HOOK_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "whatever the sender posts, at most 256 KiB",
        "content": {
            "application/json": {"schema": {}},
            "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
            "text/plain": {"schema": {"type": "string"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


async def read_secrets(
    session: AsyncSession, workspace: str, config: WebhookTrigger, keyring: KeyRing | None
) -> list[str]:
    """Open the secrets that may have signed; those that are gone are left out.

    Raises SchemeError when none is left, and SealError.
    """
    if isinstance(config.verify, NoScheme):
        return []
    names = config.verify.secrets
    if keyring is None:
        raise SchemeError("this installation has no keys to open stored secrets with")
    rows = await secrets.find_all(session, workspace, names)
    if not rows:
        raise SchemeError(f"none of the secrets exists: {', '.join(names)}")
    return [secrets.open_secret(row, keyring) for row in rows]


def prove(config: WebhookTrigger, given: list[str], request: Request, body: bytes) -> Proof:
    """Verify a delivery; raises SignatureError, SchemeError."""
    return verify(config.verify, given, request.headers, body, moment=now())


def headers_of(config: WebhookTrigger, request: Request) -> dict[str, str]:
    """Give the headers that are kept of a delivery."""
    return kept_headers(request.headers, config.headers)
