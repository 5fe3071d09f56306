"""Deliveries of webhooks: kept once, and each turned into one run or one event."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit, dead_letters, events, triggers
from db.base import clean_text, now
from db.events import Published
from db.ids import new_id
from db.locks import lock
from db.ordering import order_run
from db.trigger_table import Trigger, TriggerKind
from db.webhook_deliveries import no_delivery
from db.webhook_table import DeliveryStatus, WebhookDelivery
from schemas import expressions
from schemas.errors import (
    ErrorCode,
    ExpressionError,
    InputError,
    NotFoundError,
    SojournError,
    UnavailableError,
)
from schemas.events import NewEvent
from schemas.webhook_bodies import names_of
from schemas.webhooks import PublishedEvent, WebhookTrigger

__all__ = ["DeliveryStatus", "Incoming", "Taken", "WebhookDelivery"]

_MAX_ID = 255


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A delivery whose signature fits: what came, and what the signature says of it.

    `id` is the sender's; `id_signed` when nobody else can have changed it or taken it away.
    """

    headers: Mapping[str, str]
    query: str
    body: bytes
    id: str | None
    id_signed: bool
    timestamp: str | None

    def content_hash(self) -> str:
        """Hash what was signed, but for the id: SHA-256, in hex."""
        time = (self.timestamp or "").encode()
        return hashlib.sha256(len(time).to_bytes(2, "big") + time + self.body).hexdigest()


@dataclass(frozen=True)
class Taken:
    """What became of a delivery; a `duplicate` came before, and changed nothing.

    `forward` is what is left to be done after the commit, for `Outbox.forward`.
    """

    delivery: WebhookDelivery
    duplicate: bool = False
    forward: Published | None = None


def hash_token(token: str) -> str:
    """Give what is stored of a webhook's token: its SHA-256, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


async def find_trigger(session: AsyncSession, token: str) -> Trigger:
    """Return the trigger of a token, of whatever workspace; raises NotFoundError."""
    statement = select(Trigger).where(Trigger.token_hash == hash_token(token))
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError(
            "there is no such webhook", hint="the token was never valid, or rotated"
        )
    return found


async def reject(session: AsyncSession, trigger: Trigger, reason: str) -> None:
    """Count a delivery that was refused; it is not kept, so that a flood fills no table."""
    statement = (
        sa.update(Trigger)
        .where(col(Trigger.id) == trigger.id)
        .values(
            rejected=col(Trigger.rejected) + 1,
            last_rejected_at=now(),
            last_rejection=clean_text(reason[:1000]),
        )
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def take(
    session: AsyncSession,
    trigger: Trigger,
    config: WebhookTrigger,
    incoming: Incoming,
    *,
    correlation_id: str | None = None,
) -> Taken:
    """Keep a delivery and order its run, once however often and from wherever it comes.

    One that cannot be read or mapped is kept as failed, for it would fail each time that its
    sender tried again; RATE_LIMITED and UnavailableError are raised, and leave nothing behind.
    """
    row = _row(trigger, config, incoming)
    if config.dedupe == "auto" and not incoming.id_signed:
        found = await _same_content(session, row)
        if found is not None:
            return Taken(found, duplicate=True)
    storing = (
        insert(WebhookDelivery)
        .values(row.model_dump())
        .on_conflict_do_nothing(index_elements=["trigger_id", "delivery_key"])
        .returning(WebhookDelivery)
    )
    stored = (await session.exec(storing)).scalars().first()
    if stored is None:
        return Taken(await _holder(session, row), duplicate=True)
    forward: Published | None = None
    try:
        names = _names(stored)
        if _passes(config, names):
            forward = await _act(session, trigger, config, stored, names, correlation_id, "")
        else:
            stored.status = DeliveryStatus.IGNORED
    except SojournError as error:
        if isinstance(error, UnavailableError) or error.code == ErrorCode.RATE_LIMITED:
            raise
        stored.status = DeliveryStatus.FAILED
        stored.error = clean_text(f"{error.code}: {error.message}"[:1000])
        await dead_letters.keep_delivery(
            session,
            trigger.workspace,
            trigger.definition,
            stored.id,
            code=error.code,
            message=error.message,
        )
    if stored.status is not DeliveryStatus.IGNORED:
        await triggers.note(session, trigger, stored.error)
    session.add(stored)
    await session.flush()
    return Taken(stored, forward=forward)


async def replay(
    session: AsyncSession,
    workspace: str,
    delivery_id: str,
    *,
    actor: str,
    correlation_id: str | None = None,
) -> tuple[Taken, str | None]:
    """Use a kept delivery again, as its trigger maps it now; gives the new run's id as well.

    Its `where` does not count: who replays it wants it. Raises NotFoundError, ExpressionError,
    InputError and whatever ordering the run raises; then nothing has changed.
    """
    counting = (
        sa.update(WebhookDelivery)
        .where(col(WebhookDelivery.id) == delivery_id, col(WebhookDelivery.workspace) == workspace)
        .values(replays=col(WebhookDelivery.replays) + 1)
        .returning(WebhookDelivery)
        .execution_options(populate_existing=True)
    )
    row = (await session.exec(counting)).scalars().first()
    if row is None:
        raise no_delivery(delivery_id)
    trigger = (await session.exec(select(Trigger).where(Trigger.id == row.trigger_id))).one()
    config = webhook_of(trigger)
    first, row.run_id = row.run_id, None
    mark = f"#{row.replays}"
    forward = await _act(session, trigger, config, row, _names(row), correlation_id, mark)
    run_id = row.run_id
    row.run_id, row.status, row.error = first or run_id, DeliveryStatus.ACCEPTED, None
    await dead_letters.delivery_replayed(session, row.id, run_id, actor=actor)
    audit.add(
        session,
        workspace,
        actor=actor,
        action="webhook.replay",
        subject=row.id,
        data={"run_id": run_id, "replay": row.replays, "trigger_id": trigger.id},
    )
    session.add(row)
    await session.flush()
    return Taken(row, forward=forward), run_id


def webhook_of(trigger: Trigger) -> WebhookTrigger:
    """Give what a webhook trigger says; raises InputError for a trigger of another kind."""
    given = triggers.given_of(trigger)
    if not isinstance(given, WebhookTrigger):
        raise InputError(f"the trigger is of kind {trigger.kind.value!r}, not a webhook")
    return given


async def set_token(session: AsyncSession, trigger: Trigger, token: str) -> None:
    """Replace a webhook's token; the one before is unknown from now on."""
    if trigger.kind is not TriggerKind.WEBHOOK:
        raise InputError(
            f"the trigger is of kind {trigger.kind.value!r}", hint="only webhooks have a token"
        )
    trigger.token_hash, trigger.updated_at = hash_token(token), now()
    session.add(trigger)
    await session.flush()


def _row(trigger: Trigger, config: WebhookTrigger, incoming: Incoming) -> WebhookDelivery:
    content = incoming.content_hash()
    sender_id = incoming.id
    if sender_id is not None and len(sender_id) > _MAX_ID:
        sender_id = hashlib.sha256(sender_id.encode()).hexdigest()
    if config.dedupe == "content":
        key = f"content:{content}"
    elif sender_id is not None:
        key = f"id:{sender_id}"
    else:
        key = f"new:{new_id()}" if config.dedupe == "id" else f"content:{content}"
    return WebhookDelivery(
        workspace=trigger.workspace,
        trigger_id=trigger.id,
        delivery_key=key,
        sender_id=sender_id,
        content_hash=content,
        headers=dict(incoming.headers),
        query=incoming.query,
        body=incoming.body,
    )


async def _same_content(session: AsyncSession, row: WebhookDelivery) -> WebhookDelivery | None:
    """Find what came before with the same content, where the id of one of the two is missing.

    A signature that does not cover the id lets anybody take it away, or put one there. Under the
    lock of the content no two copies are looked up at once.
    """
    await lock(session, f"webhook:{row.trigger_id}:{row.content_hash}")
    statement = select(WebhookDelivery).where(
        WebhookDelivery.trigger_id == row.trigger_id,
        WebhookDelivery.content_hash == row.content_hash,
    )
    if row.sender_id is not None:
        statement = statement.where(col(WebhookDelivery.sender_id).is_(None))
    return (await session.exec(statement.order_by(col(WebhookDelivery.received_at)))).first()


async def _holder(session: AsyncSession, row: WebhookDelivery) -> WebhookDelivery:
    statement = select(WebhookDelivery).where(
        WebhookDelivery.trigger_id == row.trigger_id,
        WebhookDelivery.delivery_key == row.delivery_key,
    )
    return (await session.exec(statement)).one()


def _names(row: WebhookDelivery) -> dict[str, Any]:
    return names_of(
        body=row.body,
        headers=row.headers,
        query=row.query,
        delivery_id=row.sender_id or row.id,
        received_at=row.received_at,
    )


def _passes(config: WebhookTrigger, names: Mapping[str, Any]) -> bool:
    if config.where is None:
        return True
    verdict = expressions.evaluate(config.where, names)
    if not isinstance(verdict, bool):
        raise ExpressionError(f"'where' gives {verdict!r}, not true or false")
    return verdict


async def _act(
    session: AsyncSession,
    trigger: Trigger,
    config: WebhookTrigger,
    row: WebhookDelivery,
    names: Mapping[str, Any],
    correlation_id: str | None,
    mark: str,
) -> Published:
    """Order the run of a delivery and note it in the row, or publish its event."""
    given: dict[str, Any] = expressions.render(config.input, names)
    if config.publish is not None:
        event = _event(config.publish, given, names, trigger, row, mark)
        return await events.publish(
            session, trigger.workspace, event, correlation_id=correlation_id
        )
    ordered = await order_run(
        session,
        trigger.workspace,
        definition=trigger.definition,
        input=given,
        trigger_id=trigger.id,
        correlation_id=correlation_id,
    )
    row.run_id = ordered.run_id
    return Published(row.id, matched=0, started=1, run_ids=[ordered.run_id])


def _event(
    wanted: PublishedEvent,
    given: dict[str, Any],
    names: Mapping[str, Any],
    trigger: Trigger,
    row: WebhookDelivery,
    mark: str,
) -> NewEvent:
    key = expressions.render(wanted.key, names)
    try:
        event = NewEvent(
            id=f"{row.id}{mark}",
            source=f"webhook:{trigger.id}",
            type=wanted.event,
            key=key if isinstance(key, str) else str(key),
            data=given,
            time=row.received_at,
        )
    except ValidationError as error:
        raise InputError(
            f"the event's key is {key!r}, not a text of 1 to 512 characters"
        ) from error
    event.check_size()
    return event
