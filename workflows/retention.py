"""Pruning old rows: a workflow that a Temporal schedule starts once an hour."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from schemas.retention import PRUNE, RETENTION

_ATTEMPT = timedelta(minutes=5)
_HEARTBEAT = timedelta(seconds=10)


@workflow.defn(name=RETENTION)
class Retention:
    """Prunes the rows of one workspace that are older than its policies say."""

    @workflow.run
    async def run(self, workspace: str) -> dict[str, Any]:
        """Prune for some minutes; gives how many rows went, and whether more are left."""
        return await workflow.execute_activity(
            PRUNE,
            workspace,
            result_type=dict[str, Any],
            start_to_close_timeout=_ATTEMPT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
