"""The `emit` action: a run tells what happened, and others that wait for it go on."""

import asyncio
import hashlib
import logging
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from db import events
from db.base import now
from db.engine import Database
from schemas.errors import ErrorCode, SojournError
from schemas.events import EVENT_SIGNAL, MAX_ID, EventId, EventKey, NewEvent
from schemas.step_base import EventType

# What is not delivered in this time (s) the API process delivers.
_DELIVERY = 3.0
_AT_ONCE = 8
_logger = logging.getLogger(__name__)


class EmitParams(BaseModel):
    """Parameters of `emit`."""

    model_config = ConfigDict(extra="forbid", title="emit")

    type: EventType = Field(description="what happened", examples=["order.paid"])
    key: EventKey = Field(description="what it happened to", examples=["{{ input.order }}"])
    data: Any = Field(default=None, description="at most 256 KiB")
    id: EventId | None = Field(
        default=None,
        description="the same id counts once among the events of this definition's runs; by "
        "default each step's event is its own",
    )


class EmitResult(BaseModel):
    """What became of the event: runs that waited for it, and runs that it starts."""

    id: str
    matched: int
    started: int
    duplicate: bool


@action("emit")
async def emit(params: EmitParams, context: ActionContext) -> EmitResult:
    """Publish an event to the runs that wait for it and the triggers that it fires.

    It is stored once however often the step is attempted; delivery is certain, also when this
    process dies at once. Raises LIMIT_EXCEEDED for data that are too large.
    """
    database, step = context.services.database, context.step
    if database is None:
        raise ActionError("events need a database", code=ErrorCode.INVALID_INPUT, retryable=False)
    event = NewEvent(
        id=params.id or _own_id(step.key),
        source=f"sojourn/{step.definition}",
        type=params.type,
        key=params.key,
        data=params.data,
        time=now(),
    )
    async with database.session() as session:
        published = await events.publish(
            session, step.workspace, event, correlation_id=step.correlation_id
        )
    if published.deliveries:
        await _deliver(database, activity.client(), published.deliveries, context.budget / 2)
    return EmitResult(
        id=published.id,
        matched=published.matched,
        started=published.started,
        duplicate=published.duplicate,
    )


def _own_id(key: str) -> str:
    return key if len(key) <= MAX_ID else hashlib.sha256(key.encode()).hexdigest()


async def _deliver(
    database: Database, client: Client, deliveries: list[events.Delivery], budget: float
) -> None:
    """Signal the runs as far as time allows; what is left undone is due for the API process."""
    done: list[events.Delivery] = []
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(delivery: events.Delivery) -> None:
        async with slots:
            handle = client.get_workflow_handle(delivery.workflow_id)
            try:
                await handle.signal(EVENT_SIGNAL, delivery.event)
            except RPCError as error:
                # A run that has ended needs no event any more.
                if error.status != RPCStatusCode.NOT_FOUND:
                    _logger.warning("run %s gets its event later", delivery.run_id)
                    return
            done.append(delivery)

    try:
        async with asyncio.timeout(min(budget, _DELIVERY)):
            await asyncio.gather(*(one(delivery) for delivery in deliveries))
    except TimeoutError:
        _logger.warning("%d runs get their event later", len(deliveries) - len(done))
    try:
        async with database.session() as session:
            await events.mark_delivered(session, done)
    except SojournError as error:
        # The event is stored, and who gets it twice takes it once.
        _logger.warning("deliveries are not noted: %s", error.message)
