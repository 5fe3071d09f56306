"""Events: what happened to something, told from outside or by a run, for runs that care."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic_core import to_json

from schemas import cel
from schemas.errors import LimitError
from schemas.run import Event
from schemas.step_base import EventType

MAX_DATA_BYTES = 256 * 1024
# A run is given the stored events in pages, each a result that its history keeps.
PAGE_EVENTS = 1000
PAGE_BYTES = 256 * 1024
MAX_KEY = 512
MAX_ID = 255
# Brings an event to a run; no signal of a definition can have this name.
EVENT_SIGNAL = "sojourn.event"

EventId = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
EventKey = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
EventSource = Annotated[str, Field(min_length=1, max_length=MAX_ID)]

# What `event` looks like to an expression.
EVENT_TYPE = cel.object_type(
    {
        "id": cel.STRING,
        "source": cel.STRING,
        "type": cel.STRING,
        "key": cel.STRING,
        "data": cel.DYN,
        "time": cel.STRING,
    }
)


class NewEvent(BaseModel):
    """An event as it comes in; the same `id` from the same `source` is the same event."""

    id: EventId
    source: EventSource
    type: EventType
    key: EventKey
    data: Any = None
    time: datetime

    def check_size(self) -> None:
        """Raise LimitError when the data are larger than an event may carry."""
        size = data_bytes(self.data)
        if size > MAX_DATA_BYTES:
            raise LimitError(f"the event's data has {size} bytes; the limit is {MAX_DATA_BYTES}")


def data_bytes(data: Any) -> int:
    """Give the length of an event's data as JSON."""
    return 0 if data is None else len(to_json(data))


def is_full(page: list[Event]) -> bool:
    """True for a page of stored events after which there may be more."""
    return len(page) >= PAGE_EVENTS or sum(data_bytes(event.data) for event in page) >= PAGE_BYTES


def view(event: Event) -> dict[str, Any]:
    """Give an event as expressions see it."""
    return event.model_dump(mode="json", exclude={"seq"})
