"""Opening the payloads of a run's history that are read from outside a worker."""

from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.converter import DataConverter, WorkflowSerializationContext

# What is read of a run's own events. Those about its children hold payloads of other workflows,
# and of a marker's details the core of the SDK writes all but the result itself, in the clear.
_READ = {
    "workflow_execution_started_event_attributes": "input",
    "workflow_execution_completed_event_attributes": "result",
    "workflow_execution_failed_event_attributes": "failure",
    "activity_task_completed_event_attributes": "result",
    "activity_task_failed_event_attributes": "failure",
    "activity_task_timed_out_event_attributes": "failure",
    "marker_recorded_event_attributes": "details",
}


def converter_for(client: Client, workflow_id: str) -> DataConverter:
    """Give what reads and writes the payloads of one workflow, as `client` does."""
    context = WorkflowSerializationContext(namespace=client.namespace, workflow_id=workflow_id)
    return client.data_converter.with_context(context)


async def open_event(event: HistoryEvent, converter: DataConverter) -> None:
    """Open, in place, what is read of an event; a payload that is refused raises when read."""
    codec = converter.payload_codec
    kind = event.WhichOneof("attributes") or ""
    field = _READ.get(kind)
    if codec is None or field is None:
        return
    found: Any = getattr(getattr(event, kind), field)
    if field == "failure":
        await codec.decode_failure(found)
    elif field == "details":
        if "result" in found:
            await codec.decode_wrapper(found["result"])
    elif found.payloads:
        await codec.decode_wrapper(found)
