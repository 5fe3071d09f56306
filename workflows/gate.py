"""The gate: what a Temporal schedule starts when it is due."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey

from schemas.schedules import GATE, ORDER_SCHEDULED, SlotCall

# Set by Temporal on what a schedule starts: when it was due, without jitter.
_DUE = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_ATTEMPT = timedelta(seconds=30)
_HEARTBEAT = timedelta(seconds=10)
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10))


@workflow.defn(name=GATE)
class Gate:
    """Orders the run of one due time, by one activity that may be repeated.

    A schedule's action carries its input by value. The gate's names the trigger alone: a new
    version, another input or another overlap policy is read from the database when it is due.
    """

    @workflow.run
    async def run(self, workspace: str, trigger_id: str) -> dict[str, Any]:
        """Order the run; gives what became of the due time (`schemas.schedules.SlotAnswer`)."""
        info = workflow.info()
        due = info.typed_search_attributes.get(_DUE) or info.start_time.replace(microsecond=0)
        call = SlotCall(
            workspace=workspace, trigger_id=trigger_id, due=due, gate_started=info.start_time
        )
        return await workflow.execute_activity(
            ORDER_SCHEDULED,
            call,
            result_type=dict[str, Any],
            start_to_close_timeout=_ATTEMPT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary=f"due {due.isoformat()}",
        )
