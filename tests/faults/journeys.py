"""Lead journeys whose outcome is known beforehand, and the check that they came out so."""

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from db import lead_events, leads, run_steps, runs
from db.lead_events import LeadEventKind
from schemas.run import RunStatus, StepStatus
from tests.faults.evidence import Expected
from tests.faults.stand import Stand
from tests.kit.running import state_of

WORKSPACE = "default"
WELCOME, FOLLOWUP = "Welcome, Ada", "Ada, is it still of interest?"


@dataclass(frozen=True)
class Kind:
    """What a lead does, and what the journey makes of it."""

    name: str
    result: str
    lead_status: str
    subjects: tuple[str, ...]
    budget: int = 5000
    event: str | None = None


SILENT = Kind("silent", "silent", "failed", (WELCOME, FOLLOWUP))
REPLIED = Kind("replied", "replied", "engaged", (WELCOME,), event="replied")
BOOKED = Kind("booked", "booked", "won", (WELCOME,), event="booked")
UNQUALIFIED = Kind("unqualified", "unqualified", "failed", (), budget=100)
KINDS = (SILENT, SILENT, REPLIED, BOOKED, SILENT, UNQUALIFIED)


@dataclass(frozen=True)
class Submitted:
    """One lead on the way."""

    kind: Kind
    email: str
    lead_id: str
    run_id: str

    @property
    def mails(self) -> list[Expected]:
        """The mails that must come."""
        return [(self.email, subject) for subject in self.kind.subjects]

    def handle(self, stand: Stand) -> WorkflowHandle:
        """The run in Temporal."""
        return stand.client.get_workflow_handle(f"{WORKSPACE}/lead-nurture/{self.run_id}")


async def submit(stand: Stand, kind: Kind, email: str) -> Submitted:
    """Submit the form as this lead, who replies or books at once where its kind does so."""
    fields = {"email": email, "name": "Ada", "company": "Engines", "budget": kind.budget}
    async with stand.api() as api:
        answer = await api.post("/api/v1/forms/contact/submissions", json={"fields": fields})
        assert answer.status_code == 201, answer.text
        told = answer.json()
        if kind.event is not None:
            answer = await api.post(
                f"/api/v1/leads/{told['lead_id']}/events",
                json={"kind": kind.event, "at": datetime.now(UTC).isoformat()},
            )
            assert answer.status_code == 201, answer.text
    return Submitted(kind, email, told["lead_id"], told["run_id"])


async def check_outcome(stand: Stand, lead: Submitted) -> int:
    """Temporal, the run's row, its steps and the lead all tell the one right outcome.

    Gives how often work was lost with a worker and done again.
    """
    handle = lead.handle(stand)
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert await handle.result() == {"result": lead.kind.result}
    state = await state_of(handle)
    async with stand.database.session() as session:
        row = await runs.get(session, WORKSPACE, lead.run_id)
        steps = await run_steps.steps(session, WORKSPACE, lead.run_id)
        person = await leads.get(session, WORKSPACE, lead.lead_id)
        events = (await lead_events.events(session, WORKSPACE, lead.lead_id)).items
    assert (row.status, row.output, row.error) == (RunStatus.COMPLETED, state.output, None)
    assert row.finished_at is not None
    stored = {step.path: (step.status, step.attempts, step.output) for step in steps}
    told = {step.path: (step.status, step.attempts, step.output) for step in state.steps.values()}
    assert stored == told
    assert {step.status for step in steps} == {StepStatus.COMPLETED}
    assert person.status == lead.kind.lead_status
    sent = [event for event in events if event.kind is LeadEventKind.SENT]
    assert len(sent) == len(lead.kind.subjects)
    history = (await handle.fetch_history()).events
    kinds = [event.WhichOneof("attributes") for event in history]
    assert "workflow_task_failed_event_attributes" not in kinds
    return sum(_lost(event) for event in history)


def _lost(event: HistoryEvent) -> bool:
    """Whether an event says that a worker took work and never came back with it."""
    if event.HasField("workflow_task_timed_out_event_attributes"):
        return True
    if not event.HasField("activity_task_started_event_attributes"):
        return False
    started = event.activity_task_started_event_attributes
    return started.attempt > 1 and started.last_failure.HasField("timeout_failure_info")
