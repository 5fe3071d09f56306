"""Runs that Temporal cannot get on: their workflow tasks fail again and again.

What data cause ends a run as failed; this is for our own faults, and for workers that lack what a
run needs. Such a run is kept, tried again by Temporal with growing pauses, and goes on once the
fault is mended.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client

from schemas.errors import ConflictError, ErrorCode, SojournError
from workflows.opening import converter_for
from workflows.search import WORKSPACE

# From this attempt of one workflow task on a run counts as blocked; a worker that was killed costs
# one attempt, two in a row are bad luck.
BLOCKED_ATTEMPT = 3
MAX_REASON = 500
_VALUES = re.compile(r", input_value=.*?(?=, input_type=)", re.DOTALL)
_PAGE = 100
_PAGES = 10
_LISTED = 1000

Within = Callable[[Awaitable[Any]], Awaitable[Any]]
ResetPoint = Literal["failed_task", "last_completed"]


class Blockages:
    """Finds blocked runs, says why they are, and has them tried again."""

    def __init__(self, client: Client, within: Within) -> None:
        """Ask through `client`; `within` gives each call its deadline."""
        self._client = client
        self._within = within

    async def reported(self) -> list[str]:
        """Give the workflow ids of open runs that the server reports, at most 1,000.

        It does so after some failures of one task (five by default); servers before 1.30, and
        those whose visibility lacks the attribute, report none.
        """
        query = (
            f"TemporalReportedProblems IS NOT NULL AND {WORKSPACE.name} IS NOT NULL"
            " AND ExecutionStatus = 'Running'"
        )
        listing = self._client.list_workflows(query, page_size=_LISTED)
        try:
            await self._within(listing.fetch_next_page())
        except SojournError as error:
            if error.code == ErrorCode.INVALID_INPUT:
                return []
            raise
        return [found.id for found in listing.current_page or ()]

    async def reason(self, workflow_id: str) -> str:
        """Give what the worker says of the failure that holds a run up."""
        async for event in self._backwards(workflow_id):
            failed = event.workflow_task_failed_event_attributes
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return await self._told(workflow_id, failed.failure)
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
                return "a worker took the workflow task and did not answer in time"
        return "the workflow task fails"

    async def _told(self, workflow_id: str, failure: Failure) -> str:
        codec = converter_for(self._client, workflow_id).payload_codec
        if codec is not None:
            await codec.decode_failure(failure)
        kind = failure.application_failure_info.type
        text = f"{kind}: {failure.message}" if kind else failure.message
        # Pydantic tells the values that it refuses, which may be anybody's data.
        return _VALUES.sub("", text or "the workflow task failed")[:MAX_REASON]

    async def reset(self, workflow_id: str, point: ResetPoint, why: str) -> str:
        """Have a run go on from `point`; gives Temporal's id of the new execution.

        `failed_task` repeats the task that fails, with all that came before it: nothing that has
        taken effect is done again. `last_completed` also takes back the commands of the last task
        that was good: the activities that it began are begun again. Raises ConflictError.
        """
        at = 0
        async for event in self._backwards(workflow_id):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                at = event.event_id if point == "last_completed" else at
                break
            if event.event_type in (
                EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
                EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
            ):
                at = event.event_id
        if not at:
            raise ConflictError("the run's history has no failed task to go back to")
        request = ResetWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            reason=why[:MAX_REASON],
            workflow_task_finish_event_id=at,
            request_id=str(uuid4()),
        )
        service = self._client.workflow_service
        return (await self._within(service.reset_workflow_execution(request))).run_id

    async def _backwards(self, workflow_id: str) -> AsyncIterator[HistoryEvent]:
        token = b""
        for _ in range(_PAGES):
            request = GetWorkflowExecutionHistoryReverseRequest(
                namespace=self._client.namespace,
                execution=WorkflowExecution(workflow_id=workflow_id),
                maximum_page_size=_PAGE,
                next_page_token=token,
            )
            service = self._client.workflow_service
            answer = await self._within(service.get_workflow_execution_history_reverse(request))
            for event in answer.history.events:
                yield event
            token = answer.next_page_token
            if not token:
                return
