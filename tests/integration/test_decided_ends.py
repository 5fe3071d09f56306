"""A cancel that comes after the final projection and before Temporal has the end."""

import pytest
from httpx2 import AsyncClient
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Worker

from activities import records
from activities.services import Services
from schemas.run import FinalOutcome, Projection
from tests.integration.test_control import begin, until

WORK = """
name: {name}
steps:
  - id: done
    type: set
    vars: {{done: true}}
    compensate: [{{id: undo, type: set, vars: {{done: false}}}}]
  - {{id: nap, type: delay, for: 100ms}}
  - {{id: last, type: {last}}}
output: {{done: "{{{{ vars.done }}}}"}}
"""


@pytest.mark.parametrize(("last", "status"), [("stop", "completed"), ("fail", "failed")])
async def test_the_first_decision_counts(
    api: AsyncClient,
    client: Client,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    last: str,
    status: str,
) -> None:
    real = records.apply
    cancelled: list[str] = []

    async def apply_then_cancel(
        services: Services, projection: Projection, execution: str | None = None
    ) -> FinalOutcome | None:
        before = await real(services, projection, execution)
        if projection.status.terminal and projection.run_id == run and not cancelled:
            cancelled.append(run)
            await client.get_workflow_handle(workflow_id).cancel()
        return before

    run = await begin(api, WORK, last=last)
    workflow_id = (await api.get(f"/api/v1/runs/{run}")).json()["workflow_id"]
    monkeypatch.setattr(records, "apply", apply_then_cancel)
    await until(api, run, status)
    assert cancelled, "the control: the cancel came between the row's end and Temporal's"
    handle = client.get_workflow_handle(workflow_id)
    closed = await handle.describe()
    while closed.status == WorkflowExecutionStatus.RUNNING:
        closed = await handle.describe()
    assert closed.status is not None
    assert closed.status.name.lower() == status
    history = await handle.fetch_history()
    asked = [
        event
        for event in history.events
        if event.HasField("workflow_execution_cancel_requested_event_attributes")
    ]
    assert asked, "Temporal knows of the cancel"
