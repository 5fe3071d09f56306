"""A run's events, translated from Temporal's own history; nothing is written for them.

Activities show as they are scheduled and finished; what happens inside the interpreter (timers,
waits, sets) shows in the results of its `record` calls, which name the steps that changed.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.client import WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import ErrorCode
from schemas.stretch import STRETCH, Outcome
from workflows.opening import open_event
from workflows.recorder import RECORD
from workflows.setup import DATA_CONVERTER

_CONVERTER = DATA_CONVERTER.payload_converter
_STEP_EVENTS = {
    "running": "step_started",
    "waiting": "step_waiting",
    "completed": "step_completed",
    "failed": "step_failed",
    "skipped": "step_skipped",
    "cancelled": "step_cancelled",
}
_ACTIVITY_ENDS = {
    "completed": "completed",
    "failed": "failed",
    "timed_out": "failed",
    "canceled": "cancelled",
}
_VERDICTS = {"verdict": "condition", "check": "condition", "choose": "switch"}
_LOCAL_ACTIVITY = "core_local_activity"


class RunEvent(BaseModel):
    """One event of a run; `id` orders events and resumes a stream: `generation.event.part`."""

    id: str
    type: str
    at: datetime
    data: dict[str, Any] = Field(default_factory=dict)


Handle = Callable[[str], WorkflowHandle[Any, Any]]


async def translate(
    handle: Handle,
    first_run_id: str,
    after: str | None,
    converter: DataConverter = DATA_CONVERTER,
) -> AsyncIterator[RunEvent]:
    """Give the events after `after`, live, until the run closes; follows continue-as-new.

    `converter` is the one of the run's workflow, which opens its payloads.

    `first_run_id` may be of any execution of the run: the events begin at the first one, or where
    that is past its retention, at the earliest that Temporal still has.
    """
    seen = _parse_id(after)
    reader = _Reader()
    run_id = earliest = await _earliest(handle, first_run_id)
    generation = -1
    while run_id:
        following = ""
        async for event in handle(run_id).fetch_history_events(wait_new_event=True):
            await open_event(event, converter)
            if event.HasField("workflow_execution_started_event_attributes"):
                started = event.workflow_execution_started_event_attributes
                generation = _generation(started, generation + 1)
            if event.HasField("workflow_execution_continued_as_new_event_attributes"):
                attributes = event.workflow_execution_continued_as_new_event_attributes
                following = attributes.new_execution_run_id
            at = event.event_time.ToDatetime(UTC)
            # Everything is read, also what the caller has seen: a step is announced only once.
            for part, (kind, data) in enumerate(reader.read(event)):
                place = (generation, event.event_id, part)
                if kind == "run_started" and (run_id != earliest or (generation and after)):
                    continue
                if place > seen:
                    yield RunEvent(id=".".join(map(str, place)), type=kind, at=at, data=data)
        run_id = following


async def _earliest(handle: Handle, run_id: str) -> str:
    """Give the first execution of a run's chain; of a long run Temporal may have forgotten it."""
    started = await _started(handle(run_id))
    if started is None:
        run_id = (await handle("").describe()).run_id
        started = await _started(handle(run_id))
    if started is None:
        return run_id
    first = started.first_execution_run_id
    if first in ("", run_id) or await _started(handle(first)) is not None:
        return first or run_id
    while started.continued_execution_run_id:
        before = await _started(handle(started.continued_execution_run_id))
        if before is None:
            break
        run_id, started = started.continued_execution_run_id, before
    return run_id


async def _started(
    execution: WorkflowHandle[Any, Any],
) -> WorkflowExecutionStartedEventAttributes | None:
    """Give how an execution started; None when Temporal does not know it."""
    try:
        async for event in execution.fetch_history_events(page_size=1):
            return event.workflow_execution_started_event_attributes
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
    return None


def _generation(started: WorkflowExecutionStartedEventAttributes, default: int) -> int:
    """Read from the carried state how often a run had continued as new: ids then never change."""
    if len(started.input.payloads) < 2:
        return 0
    state = _decode(started.input.payloads[1])
    return int(state.get("generation", default)) if isinstance(state, dict) else default


def _parse_id(text: str | None) -> tuple[int, ...]:
    """Read an id; one that is not ours starts the stream from its beginning."""
    parts = (text or "").split(".")
    if len(parts) == 3 and all(part.isdecimal() and len(part) < 12 for part in parts):
        return tuple(int(part) for part in parts)
    return (-1,)


class _Reader:
    """Keeps what was announced, so that two sources of one change give one event."""

    def __init__(self) -> None:
        self._scheduled: dict[int, str] = {}
        self._types: dict[str, str] = {}
        self._announced: dict[str, str] = {}

    def read(self, event: HistoryEvent) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = event.WhichOneof("attributes") or ""
        attributes = getattr(event, kind)
        name = kind.removesuffix("_event_attributes")
        reading = getattr(self, f"_{name}", None)
        if reading is not None:
            yield from reading(attributes)
        elif name.startswith("activity_task_"):
            yield from self._activity(name.removeprefix("activity_task_"), event, attributes)

    def _step(self, path: str, status: str, **data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = _STEP_EVENTS.get(status)
        if kind is None or self._announced.get(path) == status:
            return
        before = self._announced.get(path)
        self._announced[path] = status
        if before is None and status in ("completed", "failed", "waiting", "cancelled"):
            yield "step_started", self._about(path)
        yield (
            kind,
            {**self._about(path), **{k: v for k, v in data.items() if v is not None}},
        )

    def _about(self, path: str) -> dict[str, Any]:
        about = {"step": path}
        if path in self._types:
            about["type"] = self._types[path]
        return about

    def _workflow_execution_started(self, found: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "run_started", {"definition": found.workflow_type.name}

    def _activity(
        self, what: str, event: HistoryEvent, found: Any
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        if what == "scheduled":
            path = found.activity_id
            self._scheduled[event.event_id] = path
            self._types[path] = found.activity_type.name
            if found.activity_type.name != RECORD:
                yield from self._step(path, "running")
        elif what in _ACTIVITY_ENDS:
            path = self._scheduled[found.scheduled_event_id]
            if self._types[path] != RECORD:
                error = _error(found.failure) if what in ("failed", "timed_out") else None
                yield from self._step(path, _ACTIVITY_ENDS[what], error=error)
            elif what == "completed":
                yield from self._changes(_first(found.result))

    def _marker_recorded(self, found: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if found.marker_name != _LOCAL_ACTIVITY or not found.details["data"].payloads:
            return
        about = _decode(found.details["data"].payloads[0])
        if not isinstance(about, dict):
            return
        kind = about.get("activity_type")
        if kind in _VERDICTS and not str(about["activity_id"]).endswith(".if"):
            # The verdict of a step is the first sign of it; a guard's verdict is none.
            self._types.setdefault(about["activity_id"], _VERDICTS[kind])
            yield from self._step(about["activity_id"], "running")
        result = found.details["result"].payloads
        if kind == STRETCH and result:
            yield from self._stretch(_decode(result[0]))
        if kind == RECORD and result:
            yield from self._changes(_decode(result[0]))

    def _stretch(self, outcomes: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for outcome in outcomes:
            path = outcome["path"]
            self._types[path] = outcome["type"]
            yield from self._step(path, "running")
            if Outcome.model_validate(outcome).succeeded:
                # A failure may be followed by another attempt: its record tells.
                yield from self._step(path, "completed")

    def _changes(self, recorded: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if not isinstance(recorded, dict):
            return
        for change in recorded.get("steps", []):
            path, kind, status = change["path"], change["type"], change["status"]
            self._types[path] = kind
            yield from self._step(
                path,
                status,
                until=change.get("until"),
                note=change.get("note"),
                error=change.get("error"),
            )

    def _workflow_execution_signaled(self, found: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if found.signal_name == "pause":
            yield "run_paused", {}
        elif found.signal_name == "resume":
            yield "run_resumed", {}
        elif found.signal_name != "cancel":
            yield "signal_received", {"signal": found.signal_name}

    def _workflow_execution_completed(self, found: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "run_completed", {"output": _first(found.result)}

    def _workflow_execution_failed(self, found: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "run_failed", {"error": _error(found.failure)}

    def _workflow_execution_canceled(self, _: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "run_cancelled", {}

    def _workflow_execution_terminated(self, _: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        yield (
            "run_failed",
            {"error": {"code": ErrorCode.CANCELLED, "message": "terminated"}},
        )

    def _workflow_execution_timed_out(self, _: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        yield (
            "run_failed",
            {"error": {"code": ErrorCode.TIMEOUT, "message": "run timed out"}},
        )


def _decode(payload: Payload) -> Any:
    return _CONVERTER.from_payload(payload)


def _first(payloads: Payloads) -> Any:
    return _decode(payloads.payloads[0]) if payloads.payloads else None


def _error(failure: Failure) -> dict[str, Any]:
    """Give the code and message of a failure, from its details where the run put them."""
    info = failure.application_failure_info
    details = _first(info.details)
    if isinstance(details, dict) and "code" in details:
        return details
    return {"code": info.type or ErrorCode.STEP_FAILED, "message": _message(failure)}


def _message(failure: Failure) -> str:
    """Give the message, which with encryption is among the encoded attributes."""
    if failure.HasField("encoded_attributes"):
        encoded = _decode(failure.encoded_attributes)
        if isinstance(encoded, dict) and isinstance(encoded.get("message"), str):
            return encoded["message"]
    return failure.message
