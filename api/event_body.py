"""Events as request bodies: a CloudEvent or the plain form, by content type."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.content import find_unstorable
from api.models.events import CloudEvent, PlainEvent
from db.ids import new_id
from schemas.errors import InputError
from schemas.events import NewEvent

CLOUD_EVENT = "application/cloudevents+json"
PLAIN = "application/json"
# The source of plain events: ids count once among all of them.
API_SOURCE = "sojourn/api"


async def read_event(request: Request) -> NewEvent:
    """Read the body; raises InputError, or RequestValidationError that lists every fault."""
    given = request.headers.get("content-type", PLAIN).partition(";")[0].strip().lower()
    if given not in (CLOUD_EVENT, PLAIN):
        raise InputError(
            f"an event cannot be read from {given!r}", hint=f"send {PLAIN} or {CLOUD_EVENT}"
        )
    try:
        data = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is not JSON: {error}") from error
    if fault := find_unstorable(data):
        raise InputError(f"the body cannot be stored: {fault}")
    try:
        # In both forms a CloudEvent says that it is one.
        if given == CLOUD_EVENT or (isinstance(data, dict) and "specversion" in data):
            return _from_cloud(CloudEvent.model_validate_json(json.dumps(data)))
        return _from_plain(PlainEvent.model_validate_json(json.dumps(data)))
    except ValidationError as error:
        faults: list[Any] = [
            {**fault, "loc": ("body", *fault["loc"])}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise RequestValidationError(faults) from error


def _from_plain(event: PlainEvent) -> NewEvent:
    return NewEvent(
        id=event.id or new_id(),
        source=API_SOURCE,
        type=event.type,
        key=event.key,
        data=event.data,
        time=datetime.now(UTC),
    )


def _from_cloud(event: CloudEvent) -> NewEvent:
    return NewEvent(
        id=event.id,
        source=event.source,
        type=event.type,
        key=event.subject,
        data=event.data,
        time=event.time or datetime.now(UTC),
    )


EventDep = Annotated[NewEvent, Depends(read_event)]

# FastAPI cannot see a body that is read as a stream; this documents it.
EVENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "a CloudEvent 1.0 in structured mode, or the plain form",
        "content": {
            kind: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
            for kind, model in ((PLAIN, PlainEvent), (CLOUD_EVENT, CloudEvent))
        },
    }
}
