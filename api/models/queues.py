"""The queue of a definition as the API gives it."""

from datetime import datetime

from pydantic import BaseModel, Field


class QueueView(BaseModel):
    """Starts of a definition that wait for their turn, and runs that hold a slot."""

    waiting: int = Field(description="starts that its limits, or the workspace's caps, hold back")
    active: int = Field(description="runs that were admitted and have not ended")
    oldest: datetime | None = Field(
        default=None, description="when the one that waits longest was ordered"
    )
