"""Runs that sleep until a given time and then send a mail."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from httpx2 import Response
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from db import run_steps, runs
from db.runs import Run
from schemas.run import RunStatus, StepStatus
from tests.faults.evidence import Expected
from tests.faults.stand import TIMESCALE, Stand, until

WORKSPACE = "default"
_SOURCE = """
name: nap
input:
  type: object
  required: [email, until]
  properties: {email: {type: string}, until: {type: string}}
defaults: {timeout: 5s, retry: {attempts: 100, initial: 200ms, factor: 1}}
steps:
  - {id: begin, type: set, vars: {slept: false}}
  - {id: sleep, type: delay, until: timestamp(input.until)}
  - {id: mail, type: email, with: {to: "{{ input.email }}", subject: Awake, text: Good morning}}
  - {id: wake, type: set, vars: {slept: true}}
output: {slept: "{{ vars.slept }}"}
"""


@dataclass(frozen=True)
class Nap:
    """One run that sleeps."""

    email: str
    run_id: str

    @property
    def mails(self) -> list[Expected]:
        """The mail that must come."""
        return [(self.email, "Awake")]

    def handle(self, stand: Stand) -> WorkflowHandle[Any, Any]:
        """The run in Temporal."""
        return stand.client.get_workflow_handle(f"{WORKSPACE}/nap/{self.run_id}")

    async def row(self, stand: Stand) -> Run:
        """The run's row."""
        async with stand.database.session() as session:
            return await runs.get(session, WORKSPACE, self.run_id)

    async def fired_at(self, stand: Stand) -> float | None:
        """When the run's timer fired, None while it sleeps; as `time.time()`."""
        for event in (await self.handle(stand).fetch_history()).events:
            if event.HasField("timer_fired_event_attributes"):
                return event.event_time.ToNanoseconds() / 1e9
        return None


async def ask(stand: Stand, email: str, seconds: float) -> Response:
    """Ask the API for a run that sleeps so long."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds * TIMESCALE)
    body = {"input": {"email": email, "until": moment.isoformat()}}
    async with stand.api() as api:
        return await api.post("/api/v1/definitions/nap/runs", json=body)


async def fall_asleep(stand: Stand, name: str, seconds: list[float]) -> list[Nap]:
    """Start runs that sleep so long each, and wait until their rows say so."""
    async with stand.api() as api:
        answer = await api.post(
            "/api/v1/definitions?publish=true",
            content=_SOURCE.encode(),
            headers={"Content-Type": "application/yaml"},
        )
        assert answer.status_code in (201, 409), answer.text
    naps: list[Nap] = []
    for number, length in enumerate(seconds):
        email = f"{name}.{number}@example.com"
        answer = await ask(stand, email, length)
        assert answer.status_code == 201, answer.text
        naps.append(Nap(email, answer.json()["id"]))

    async def asleep() -> bool:
        rows = [await nap.row(stand) for nap in naps]
        return all(row.status is RunStatus.WAITING for row in rows)

    await until(asleep, "all runs are asleep")
    return naps


async def check_awake(stand: Stand, naps: list[Nap], deadline: float) -> None:
    """Within `deadline` seconds every row is right, and then Temporal says the same."""

    async def completed() -> bool:
        rows = [await nap.row(stand) for nap in naps]
        return all(row.status is RunStatus.COMPLETED for row in rows)

    await until(completed, "all rows say completed", deadline)
    for nap in naps:
        assert (await nap.row(stand)).output == {"slept": True}
        assert await nap.handle(stand).result() == {"slept": True}
        execution = await nap.handle(stand).describe()
        assert execution.status is WorkflowExecutionStatus.COMPLETED
        async with stand.database.session() as session:
            steps = await run_steps.steps(session, WORKSPACE, nap.run_id)
        assert [step.path for step in steps] == ["begin", "sleep", "mail", "wake"]
        assert {step.status for step in steps} == {StepStatus.COMPLETED}
