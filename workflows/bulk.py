"""Bulk jobs: a workflow that works off the items of a job, so many a second."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from schemas.bulk import BULK, BULK_BATCH, BulkCall, BulkProgress

_ATTEMPT = timedelta(minutes=5)
_HEARTBEAT = timedelta(seconds=60)
# The database, or Temporal itself, may be away for long: the job waits for it.
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=15))
# Items after which the workflow continues as new: its history stays small.
_ITEMS_A_RUN = 1000


@workflow.defn(name=BULK)
class Bulk:
    """Works off one job; the database has the items, and what became of each."""

    def __init__(self) -> None:
        """Begin without figures: the first batch brings them."""
        self._progress = BulkProgress()

    @workflow.run
    async def run(self, call: BulkCall) -> BulkProgress:
        """Work off batch after batch, each of about a second; gives the figures at the end."""
        handled = 0
        while True:
            began = workflow.now()
            self._progress = await workflow.execute_activity(
                BULK_BATCH,
                call,
                result_type=BulkProgress,
                start_to_close_timeout=_ATTEMPT,
                heartbeat_timeout=_HEARTBEAT,
                retry_policy=_RETRY,
                summary=f"items from {call.handled + 1} on",
            )
            if not self._progress.more:
                return self._progress
            handled += self._progress.handled
            call.handled += self._progress.handled
            pause = timedelta(seconds=self._progress.handled / call.rate)
            pause -= workflow.now() - began
            if pause > timedelta(0):
                await workflow.sleep(pause, summary=f"{call.rate} items a second")
            if handled >= _ITEMS_A_RUN:
                workflow.continue_as_new(call)

    @workflow.query
    def progress(self) -> BulkProgress:
        """Give the figures after the last batch."""
        return self._progress
