"""Payloads that are read from outside a worker: of a run's history, and for people's tools."""

from typing import Any
from uuid import UUID

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.converter import DataConverter, PayloadCodec, WorkflowSerializationContext

from workflows.codec import SealingCodec

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

# Bulk jobs are `sojourn-bulk/{workspace}/{job id}`, see `Gateway.start_bulk`.
_BULK_IDS = "sojourn-bulk"


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


def workspace_of(workflow_id: str) -> str | None:
    """Give whose a workflow is, by its id; None for what is not Sojourn's.

    Runs are `{workspace}/{definition}/{run id}`; what our schedules and bulk jobs start has a
    prefix before the workspace.
    """
    parts = workflow_id.split("/")
    if len(parts) == 3 and _is_uuid(parts[2]) and parts[0] != _BULK_IDS:
        return parts[0]
    if len(parts) >= 3 and parts[0] in ("sojourn", _BULK_IDS):
        return parts[1]
    return None


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


class PayloadDesk:
    """Opens and seals single payloads, for a caller who has shown that they are theirs."""

    def __init__(self, client: Client) -> None:
        """Use the codec of `client`."""
        self._client = client

    @property
    def namespace(self) -> str:
        """The namespace whose payloads these are."""
        return self._client.namespace

    @property
    def codec(self) -> SealingCodec | None:
        """The codec; None where no keys are set."""
        codec: PayloadCodec | None = self._client.data_converter.payload_codec
        return codec if isinstance(codec, SealingCodec) else None

    def open(self, payload: Payload) -> Payload:
        """Open a sealed payload, whatever workflow it names; raises PayloadRefusedError."""
        codec = self._given()
        return codec.open_for(payload, self.namespace, claimed_workflow(payload))

    async def seal(self, payloads: list[Payload], workflow_id: str) -> list[Payload]:
        """Seal payloads for one workflow, in the installation's mode."""
        self._given()
        codec = converter_for(self._client, workflow_id).payload_codec
        assert codec is not None
        return await codec.encode(payloads)

    def _given(self) -> SealingCodec:
        codec = self.codec
        if codec is None:
            raise RuntimeError("there is no codec")
        return codec


def claimed_workflow(payload: Payload) -> str:
    """Give the workflow that a sealed payload names; it is so where the payload opens for it."""
    return payload.metadata["workflow"].decode("utf-8", "replace")
