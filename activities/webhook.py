"""The `webhook` action: one signed call to a receiver that a connection names.

Source: the Standard Webhooks specification 1.0, "Webhook Metadata", "Signature Scheme" and
"Operational considerations".
"""

import asyncio
import base64
import hashlib
import json
import logging
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Annotated, Any, Final

import httpx2
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks.webhooks import Webhook

from activities._answers import may_have_acted, not_sent, retry_after
from activities._reading import read_body
from activities._urls import check_url
from activities.context import ActionContext
from activities.errors import ActionError, PacedError
from activities.registry import action
from activities.vault import Connection
from schemas.connections import CONNECTION_NAME
from schemas.errors import ErrorCode, SojournError
from schemas.webhooks import MAX_BODY_BYTES

# Between one attempt and the next, as the specification recommends; ten attempts in 75 hours.
SCHEDULE: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
_JITTER = 1.1
_KEY_BYTES = range(24, 65)
_MAX_CONNECT = 10.0
_GONE = 410
_logger = logging.getLogger(__name__)
_random = Random()  # noqa: S311 - spreads retries, guards nothing


class WebhookParams(BaseModel):
    """Parameters of `webhook`."""

    model_config = ConfigDict(extra="forbid", title="webhook")

    connection: Annotated[str, Field(pattern=CONNECTION_NAME)] = Field(
        description="a stored connection of kind webhook: where it goes, and what signs it"
    )
    event: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=128)] = (
        Field(description="`type` of the body", examples=["lead.qualified"])
    )
    data: Any = Field(description="`data` of the body")
    timestamp: Annotated[str, Field(max_length=64)] | None = Field(
        default=None,
        description="`timestamp` of the body: when it happened",
        examples=["2026-01-31T12:00:00Z"],
    )


class WebhookResult(BaseModel):
    """What the receiver said; `id` is the webhook-id, the same over all attempts."""

    id: str
    status: int


@action("webhook", cancellable=True, ledger="common")
async def webhook(params: WebhookParams, context: ActionContext) -> WebhookResult:
    """Send one signed webhook (Standard Webhooks) and wait for its acceptance.

    Without a `retry` of the step's or the definition's it is tried ten times in 75 hours. Raises
    HTTP_ERROR for every answer but 2xx (final for 410, with which a receiver ends it: it disables
    the connection), CONFLICT for a connection that is disabled, FORBIDDEN for a receiver that is
    not public, INVALID_INPUT for a connection that cannot sign, LIMIT_EXCEEDED for a body above
    256 KiB, STEP_TIMEOUT.
    """
    connection = await context.services.vault.connection(
        context.step.workspace, params.connection, "webhook"
    )
    url = _receiver(connection)
    identity, body = message_id(context.step.key), _body(params)
    headers = {
        "content-type": "application/json",
        "accept-encoding": "gzip",
        "webhook-id": identity,
        **signed(_keys(connection), identity, body, datetime.now(UTC)),
    }
    try:
        async with asyncio.timeout(context.budget):
            return await _send(context, url, headers, body)
    except _GoneError as error:
        await _disable(context, connection, error.message)
        raise
    except TimeoutError as error:
        raise _failed(
            context,
            f"no whole answer within {context.budget:g} s",
            code=ErrorCode.STEP_TIMEOUT,
        ) from error
    except httpx2.TransportError as error:
        message = f"the connection failed: {type(error).__name__}: {error}"
        raise _failed(context, message, in_doubt=not not_sent(error)) from error


def message_id(step_key: str) -> str:
    """Give the webhook-id of a step: the same over all attempts, and no other step's."""
    return f"msg_{hashlib.sha256(step_key.encode()).hexdigest()[:40]}"


def signed(keys: list[bytes], identity: str, body: bytes, moment: datetime) -> dict[str, str]:
    """Give the headers that sign a body, with a signature by each of the keys."""
    text = body.decode()
    return {
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(identity, moment, text) for key in keys),
    }


class _GoneError(ActionError):
    """The receiver wants no more webhooks."""


async def _disable(context: ActionContext, connection: Connection, reason: str) -> None:
    """Disable the receiver's connection; where that fails, the next call is told 410 again."""
    step = context.step
    try:
        await context.services.vault.disable(
            step.workspace, connection, reason, f"run:{step.run_id}"
        )
    except (SojournError, SQLAlchemyError, OSError):
        _logger.exception("the connection %r stays enabled though: %s", connection.name, reason)


async def _send(
    context: ActionContext, url: httpx2.URL, headers: dict[str, str], body: bytes
) -> WebhookResult:
    client = context.services.http
    patience = httpx2.Timeout(context.budget, connect=min(_MAX_CONNECT, context.budget * 0.8))
    request = client.build_request("POST", url, headers=headers, content=body, timeout=patience)
    response = await client.exchange(request)
    try:
        status = response.status_code
        if 200 <= status < 300:
            return WebhookResult(id=headers["webhook-id"], status=status)
        details = {"status": status, "body": (await read_body(response)).excerpt(response)}
    finally:
        await response.aclose()
    if status == _GONE:
        raise _GoneError(
            f"{url.host} answered 410: the receiver is gone and wants no more webhooks",
            code=ErrorCode.HTTP_ERROR,
            retryable=False,
            hint="take the step out of the definition, give its connection another url, or enable"
            " the connection again",
            details=details,
            in_doubt=False,
        )
    raise _failed(
        context,
        f"{url.host} answered {status} {response.reason_phrase}".rstrip(),
        asked=retry_after(response.headers),
        details=details,
        in_doubt=may_have_acted(status),
    )


def _failed(
    context: ActionContext,
    message: str,
    *,
    code: ErrorCode = ErrorCode.HTTP_ERROR,
    asked: float | None = None,
    details: dict[str, Any] | None = None,
    in_doubt: bool = True,
) -> ActionError:
    """Build the error of an attempt that another may follow, at the specification's pace."""
    if context.step.retry:
        # The author has a pace of their own.
        return ActionError(
            message, code=code, retry_after=asked, details=details, in_doubt=in_doubt
        )
    pause = SCHEDULE[min(context.attempt, len(SCHEDULE)) - 1].total_seconds()
    return PacedError(
        message,
        code=code,
        seconds=_random.uniform(pause, pause * _JITTER),
        retry_after=asked,
        details=details,
        in_doubt=in_doubt,
    )


def _body(params: WebhookParams) -> bytes:
    told = {"type": params.event, "timestamp": params.timestamp, "data": params.data}
    if params.timestamp is None:
        del told["timestamp"]
    body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    if len(body) > MAX_BODY_BYTES:
        raise ActionError(
            f"the body has {len(body):,} bytes; a webhook takes at most {MAX_BODY_BYTES:,}",
            code=ErrorCode.LIMIT_EXCEEDED,
            retryable=False,
            details={"bytes": len(body), "limit": MAX_BODY_BYTES},
            in_doubt=False,
        )
    return body


def _receiver(connection: Connection) -> httpx2.URL:
    try:
        return check_url(connection.config.get("url") or "")
    except ValueError as error:
        raise _unusable(connection, f"has no usable url: {error}") from error


def _keys(connection: Connection) -> list[bytes]:
    """Give the keys to sign with; `previous` too, while the receiver changes over."""
    stored = [connection.secrets.get(name) for name in ("secret", "previous")]
    found: list[bytes] = []
    for secret in stored:
        if secret is None:
            continue
        try:
            key = base64.b64decode(secret.removeprefix("whsec_") + "==", validate=False)
        except ValueError:
            key = b""
        if len(key) not in _KEY_BYTES:
            raise _unusable(
                connection, "cannot sign: its secret must be whsec_ and base64 of 24 to 64 bytes"
            )
        found.append(key)
    if not found:
        raise _unusable(connection, "has no secret to sign with")
    return found


def _unusable(connection: Connection, why: str) -> ActionError:
    return ActionError(
        f"the connection {connection.name!r} {why}", code=ErrorCode.INVALID_INPUT, retryable=False
    )
