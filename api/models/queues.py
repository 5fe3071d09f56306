"""The queue of a definition as the API gives it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class QueueView(BaseModel):
    """Starts of a definition that wait for their turn, and runs that hold a slot."""

    waiting: int = Field(description="starts that its limits, or the workspace's caps, hold back")
    active: int = Field(description="runs that were admitted and have not ended")
    oldest: datetime | None = Field(
        default=None, description="when the one that waits longest was ordered"
    )


class QueueCountsView(BaseModel):
    """Runs of one definition, by where they are now."""

    model_config = ConfigDict(from_attributes=True)

    definition: str
    queued: int = Field(description="ordered and due; they wait for a slot or a rate")
    delayed: int = Field(description="ordered for later")
    starting: int = Field(description="on their way to Temporal")
    open: int = Field(description="running, waiting, paused or compensating")
    running: int
    waiting: int
    paused: int
    compensating: int
    failed: int = Field(description="failed or timed out within 24 hours")


class TaskQueueView(BaseModel):
    """Tasks of one kind that no worker has taken, as Temporal estimates them."""

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["workflow", "activity"]
    tasks: int
    age: float = Field(description="of the oldest, in seconds")
    add_rate: float = Field(description="tasks a second, over the last 30 s")
    dispatch_rate: float = Field(description="tasks a second, over the last 30 s")
    pollers: int = Field(description="that asked for tasks in the last 75 s")


class QueuesView(BaseModel):
    """What is queued, in PostgreSQL and in Temporal."""

    definitions: list[QueueCountsView]
    task_queue: str
    backlog: list[TaskQueueView] | None = Field(description="null where Temporal does not answer")
