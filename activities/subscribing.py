"""The `subscribe` activity: a run tells what it waits for, and is told what has come."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from temporalio import activity

from activities.errors import ActionError, invalid_input
from activities.execution import application_error
from activities.services import Services
from db import events, tenancy
from schemas.errors import ErrorCode, SojournError


def build(services: Services) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name="subscribe")
    async def subscribe(request: Any) -> list[dict[str, Any]]:
        try:
            return await store_interest(services, request)
        except SojournError as error:
            raise application_error(error) from error

    return [subscribe]


async def store_interest(services: Services, request: Any) -> list[dict[str, Any]]:
    """Store a run's wait and give a page of the events that it has not received, as JSON values.

    Raises ActionError INVALID_INPUT for what is no `db.events.Interest`.
    """
    try:
        interest = events.Interest.model_validate(request)
    except ValidationError as error:
        raise invalid_input("subscribe", error, "request") from error
    if services.database is None:
        raise ActionError("this worker has no database", code=ErrorCode.DATABASE_UNAVAILABLE)
    with tenancy.scope(interest.workspace):
        async with services.database.session() as session:
            page = await events.subscribe(session, interest)
    return [event.model_dump(mode="json", exclude_none=True) for event in page]
