"""Bulk jobs: one action on many runs or dead letters, and what its workflow is told."""

from enum import StrEnum

from pydantic import BaseModel, Field

# The workflow type and its one activity.
BULK = "sojourn.bulk"
BULK_BATCH = "bulk_batch"
MAX_BULK_ITEMS = 10_000
MAX_BULK_RATE = 100
# Items of one activity, however high the rate.
BATCH_ITEMS = 50


class BulkAction(StrEnum):
    """What a bulk job does to each run, or with `redrive` to each dead letter."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    RETRY = "retry"
    MIGRATE = "migrate"
    REDRIVE = "redrive"


class BulkCall(BaseModel):
    """One batch of a job: argument of the workflow and of its activity."""

    workspace: str
    job_id: str
    rate: int = Field(ge=1, le=MAX_BULK_RATE)
    handled: int = Field(default=0, ge=0, description="items done since the job began")

    @property
    def size(self) -> int:
        """How many items a batch has: about a second's worth."""
        return min(self.rate, BATCH_ITEMS)


class BulkProgress(BaseModel):
    """How far a job is; `more` while items are left, also the answer to the query `progress`."""

    total: int = 0
    done: int = 0
    failed: int = 0
    handled: int = Field(default=0, description="items of the batch")
    more: bool = True
