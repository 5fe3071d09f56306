"""The `request_cancel` activity: asks Temporal to cancel the run that it works for."""

from collections.abc import Callable
from typing import Any

from temporalio import activity


def build() -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name="request_cancel")
    async def request_cancel() -> None:
        # A workflow cannot do this itself: the server refuses a cancel of one's own execution.
        workflow_id = activity.info().workflow_id
        assert workflow_id is not None, "only a workflow schedules this activity"
        await activity.client().get_workflow_handle(workflow_id).cancel()

    return [request_cancel]
