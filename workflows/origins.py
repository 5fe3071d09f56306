"""What Temporal knows of runs from their start: lists of them, and how each one began.

For rows that were lost: a run's first event holds the definition, the input and who asked for it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from temporalio.api.enums.v1 import ParentClosePolicy
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client

from schemas.run import Batch, RunStart, RunState, RunStatus
from workflows.children import identity_of
from workflows.codec import PayloadRefusedError
from workflows.opening import converter_for
from workflows.search import RUN_STATUS, WORKSPACE

# What the server gives at most in one answer, unless it is configured otherwise.
PAGE = 1000
# Events of the run above in which the start of this one is looked for.
_MAX_EVENTS, _EVENTS = 20_000, 250
# How often a step of the run above may have begun: its rewinds, and the attempts of each.
_ROUNDS, _ATTEMPTS = 10, 100
_OPENED = ".open"
_LOCAL_ACTIVITY = "core_local_activity"
_OPEN = {status.value: status for status in RunStatus if not status.terminal}

Within = Callable[[Awaitable[Any]], Awaitable[Any]]


class UnreadableStartError(ValueError):
    """A run's first event cannot be read: its key is missing, or it is not one of ours."""


@dataclass(frozen=True)
class Known:
    """A run as visibility lists it; `told` is the status that it said last while it was open."""

    workflow_id: str
    closed: bool
    told: RunStatus | None

    @property
    def run_id(self) -> str:
        """The run's own id."""
        return self.workflow_id.rpartition("/")[2]


@dataclass(frozen=True)
class Place:
    """Where in the run above a run was started: the path of its step, None if it is not found."""

    path: str | None
    detached: bool = False


@dataclass(frozen=True)
class Origin:
    """How a run began. `start` is of its latest execution: a migrated run has the new version.

    `resumed`: it began with the results of another one. `place` is there for a run of a run.
    """

    start: RunStart
    first_run_id: str
    started_at: datetime
    priority: int
    resumed: bool
    place: Place | None


class Listing:
    """One walk through the runs that visibility lists, page by page."""

    def __init__(self, client: Client, query: str, within: Within) -> None:
        """Walk through what `query` finds; `within` gives each call its deadline."""
        self._client = client
        self._query = query
        self._within = within
        self._token = b""
        self.more = True

    async def page(self) -> list[Known]:
        """Fetch the next page; raises UnavailableError."""
        # Not through the SDK's iterator, which makes ten times as much of each run as is read here.
        request = ListWorkflowExecutionsRequest(
            namespace=self._client.namespace,
            page_size=PAGE,
            next_page_token=self._token,
            query=self._query,
        )
        service = self._client.workflow_service
        answer = await self._within(service.list_workflow_executions(request))
        self._token = answer.next_page_token
        self.more = bool(self._token)
        found = map(_known, answer.executions)
        return [known for known in found if known.workflow_id.count("/") == 2]


def _known(found: WorkflowExecutionInfo) -> Known:
    # Search attributes are never sealed.
    told = found.search_attributes.indexed_fields.get(RUN_STATUS.name)
    status = _OPEN.get(told.data.decode().strip('"')) if told is not None else None
    return Known(found.execution.workflow_id, found.HasField("close_time"), status)


class Origins:
    """Lists the runs of one task queue, and reads how they began."""

    def __init__(self, client: Client, task_queue: str, within: Within) -> None:
        """Ask through `client`; `within` gives each call its deadline.

        Another installation in the same namespace has another task queue, and rows elsewhere.
        """
        self._client = client
        self._within = within
        self._ours = f"TaskQueue = '{task_queue}' AND {WORKSPACE.name} IS NOT NULL"

    def open_runs(self) -> Listing:
        """List all open runs, the latest first; visibility may lag some seconds."""
        return self._list("ExecutionStatus = 'Running'")

    def closed_runs(self, since: datetime) -> Listing:
        """List the runs that closed at `since` or later, the latest first."""
        moment = since.astimezone(UTC).isoformat()
        return self._list(f"CloseTime >= '{moment}' AND ExecutionStatus != 'ContinuedAsNew'")

    def _list(self, condition: str) -> Listing:
        return Listing(self._client, f"{self._ours} AND {condition}", self._within)

    async def origin(self, workflow_id: str, run_id: str) -> Origin:
        """Read how a run began from the first event of its execution `run_id`.

        Raises NotFoundError when Temporal has no history of it, UnreadableStartError,
        UnavailableError.
        """
        event = await self._first_event(workflow_id, run_id)
        found = event.workflow_execution_started_event_attributes
        start, state = await self._opened(workflow_id, found)
        if start.workflow_id != workflow_id:
            raise UnreadableStartError(f"the start in {workflow_id!r} is of another run")
        continued = bool(found.continued_execution_run_id)
        began = event.event_time.ToDatetime(UTC)
        return Origin(
            start=start,
            first_run_id=found.first_execution_run_id or run_id,
            started_at=state.started_at if state is not None and continued else began,
            priority=found.priority.priority_key or 3,
            resumed=state is not None and not continued,
            place=await self._place(start, found),
        )

    async def _first_event(self, workflow_id: str, run_id: str) -> HistoryEvent:
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        page = handle.fetch_history_events(page_size=1)
        await self._within(page.fetch_next_page())
        event = next(iter(page.current_page or ()), None)
        if event is None or not event.HasField("workflow_execution_started_event_attributes"):
            raise UnreadableStartError(f"the history of {workflow_id!r} has no beginning")
        return event

    async def _opened(
        self, workflow_id: str, found: WorkflowExecutionStartedEventAttributes
    ) -> tuple[RunStart, RunState | None]:
        converter = converter_for(self._client, workflow_id)
        try:
            if converter.payload_codec is not None:
                await converter.payload_codec.decode_wrapper(found.input)
            read = converter.payload_converter.from_payload
            payloads = found.input.payloads
            state = read(payloads[1], RunState) if len(payloads) > 1 else None
            return read(payloads[0], RunStart), state
        except (PayloadRefusedError, ValidationError, ValueError, IndexError) as error:
            # Of a fault in data only its kind is told: its text may quote anybody's data.
            told = error if isinstance(error, PayloadRefusedError) else type(error).__name__
            raise UnreadableStartError(f"the start of {workflow_id!r}: {told}") from error

    async def _place(
        self, start: RunStart, found: WorkflowExecutionStartedEventAttributes
    ) -> Place | None:
        if start.parent is None:
            return None
        if start.batch is not None:
            return Place(path_of_batch(start, start.batch))
        above, at = found.parent_workflow_execution, found.parent_initiated_event_id
        if not at:
            # An execution that was continued does not tell; nothing else does.
            return Place(None)
        handle = self._client.get_workflow_handle(above.workflow_id, run_id=above.run_id)
        events = handle.fetch_history_events(page_size=_EVENTS)
        paths: list[str] = []
        for _ in range(0, _MAX_EVENTS, _EVENTS):
            await self._within(events.fetch_next_page())
            for event in events.current_page or ():
                if event.event_id == at:
                    policy = event.start_child_workflow_execution_initiated_event_attributes
                    detached = policy.parent_close_policy == (
                        ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
                    )
                    return Place(_path_of(start, paths), detached)
                paths += _opened_at(event, self._client)
            if not events.next_page_token:
                break
        return Place(None)


def path_of_batch(start: RunStart, batch: Batch) -> str:
    """Give the path under which the run above has this batch of its items: `each[200]`."""
    return f"{batch.prefix}{start.definition.steps[0].id}[{batch.offset}]"


def _opened_at(event: HistoryEvent, client: Client) -> list[str]:
    """Give the path of the step that makes the row of a sub-run in this event."""
    marker = event.marker_recorded_event_attributes
    if marker.marker_name != _LOCAL_ACTIVITY or not marker.details["data"].payloads:
        return []
    about = client.data_converter.payload_converter.from_payload(marker.details["data"].payloads[0])
    if not isinstance(about, dict) or about.get("activity_type") != "open_run":
        return []
    return [str(about["activity_id"]).removesuffix(_OPENED)]


def _path_of(start: RunStart, paths: list[str]) -> str | None:
    """Find the step whose child has this run's id; the latest ones first."""
    for path in reversed(paths):
        for round_ in range(_ROUNDS):
            for attempt in range(_ATTEMPTS):
                if identity_of(start.parent or "", path, round_, attempt, 0) == start.run_id:
                    return path
    return None
