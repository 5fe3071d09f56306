"""The `order_scheduled` activity: orders the run of a due time, for the gate that asks."""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.heartbeats import beating
from activities.services import Services
from db import schedules, tenancy
from schemas.errors import ErrorCode, SojournError, UnavailableError
from schemas.schedules import ORDER_SCHEDULED, SlotCall

_logger = logging.getLogger(__name__)


def build(services: Services) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name=ORDER_SCHEDULED)
    async def order_scheduled(call: Any) -> dict[str, Any]:
        slot = SlotCall.model_validate(call)
        with beating(), tenancy.scope(slot.workspace):
            decision = await order(services, slot)
        await _cancel(activity.client(), decision.cancel)
        return decision.answer.model_dump(mode="json", exclude_none=True)

    return [order_scheduled]


async def order(services: Services, call: SlotCall) -> schedules.Decision:
    """Decide about one due time in a transaction.

    While the database is away every attempt fails with a retryable error.
    """
    if services.database is None:
        raise ApplicationError(
            "this worker has no database", type=str(ErrorCode.DATABASE_UNAVAILABLE)
        )
    try:
        async with services.database.session() as session:
            decision = await schedules.order_due(session, call)
    except (UnavailableError, SQLAlchemyError, OSError) as error:
        raise ApplicationError(
            f"the run is not ordered yet: {type(error).__name__}",
            type=str(ErrorCode.DATABASE_UNAVAILABLE),
        ) from error
    except SojournError as error:
        raise ApplicationError(error.message, type=error.code, non_retryable=True) from error
    _logger.info(
        "schedule %s due %s: %s", call.trigger_id, call.due.isoformat(), decision.answer.outcome
    )
    return decision


async def _cancel(client: Client, workflow_ids: list[str]) -> None:
    """Ask runs to end that another one replaces; raises while one has not reached Temporal yet."""
    missing: list[str] = []
    for workflow_id in workflow_ids:
        try:
            await client.get_workflow_handle(workflow_id).cancel()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            if "already completed" not in error.message.lower():
                missing.append(workflow_id)
    if missing:
        raise ApplicationError(
            f"{len(missing)} runs to be cancelled have not reached Temporal yet",
            type=str(ErrorCode.CONFLICT),
        )
