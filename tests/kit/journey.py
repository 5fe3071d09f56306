"""The lead journey as a visitor, an operator and a mail server see it."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import uuid4

from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from db import run_steps, runs
from db.engine import Database
from db.run_steps import RunStep
from db.runs import Run
from dev.mailbox import Mail, Mailbox
from schemas.run import RunStatus, StepStatus

WORKSPACE = "default"
BOOKING_URL = "https://booking.example.com/meet"
ADDRESS = "http://testserver"


@dataclass(frozen=True)
class Journey:
    """One lead who submitted the form `contact`; `deadline` is in seconds for each wait."""

    API_KEY: ClassVar[str] = "journey-key-0123456789"

    api: AsyncClient
    database: Database
    mailbox: Mailbox
    email: str
    lead_id: str
    run_id: str
    deadline: float = 180.0

    @property
    def workflow_id(self) -> str:
        """The run's id in Temporal."""
        return f"{WORKSPACE}/lead-nurture/{self.run_id}"

    @property
    def mails(self) -> list[Mail]:
        """What this lead got, in order of arrival."""
        return self.mailbox.to(self.email)

    async def tell(self, kind: str, at: datetime) -> None:
        """Report that the lead replied or booked at this time."""
        where = f"/api/v1/leads/{self.lead_id}/events"
        answer = await self.api.post(where, json={"kind": kind, "at": at.isoformat()})
        assert answer.status_code == 201, answer.text
        assert answer.json() == {"recorded": True}

    async def lead(self) -> dict[str, Any]:
        """Read the lead as the API shows it."""
        answer = await self.api.get(f"/api/v1/leads/{self.lead_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def row(self) -> Run:
        """Read the run's row."""
        async with self.database.session() as session:
            return await runs.get(session, WORKSPACE, self.run_id)

    async def steps(self) -> dict[str, RunStep]:
        """Read the rows of the run's steps, by path, in the order in which they began."""
        async with self.database.session() as session:
            found = await run_steps.steps(session, WORKSPACE, self.run_id)
        return {step.path: step for step in found}

    async def waiting_at(self, path: str) -> RunStep:
        """Wait until the row of a step says that it waits; gives the row."""
        async with asyncio.timeout(self.deadline):
            while True:
                found = (await self.steps()).get(path)
                if found is not None and found.status is StepStatus.WAITING:
                    return found
                await asyncio.sleep(0.02)

    async def ended(self) -> Run:
        """Wait until the run's row is final; gives it."""
        async with asyncio.timeout(self.deadline):
            while True:
                row = await self.row()
                if row.status.terminal:
                    return row
                await asyncio.sleep(0.02)

    async def check_completed(self, result: str, path: list[str]) -> dict[str, RunStep]:
        """The run's rows are final and whole: its output, and exactly the steps of its path."""
        row = await self.ended()
        assert row.status is RunStatus.COMPLETED
        assert row.output == {"result": result}
        assert row.error is None
        assert row.lead_id == self.lead_id
        assert row.temporal_run_id
        assert row.started_at is not None
        assert row.finished_at is not None
        assert (row.waiting_for, row.until) == (None, None)
        steps = await self.steps()
        assert list(steps) == path
        for step in steps.values():
            assert step.status is StepStatus.COMPLETED, (step.path, step.status, step.error)
            assert step.error is None
            assert step.started_at is not None
            assert step.finished_at is not None
            assert step.finished_at >= step.started_at
            assert step.title or step.type in ("stop", "set")
        shown = (await self.api.get(f"/api/v1/runs/{self.run_id}")).json()
        assert (shown["status"], shown["output"]) == ("completed", row.output)
        return steps

    def check_mails(self, *subjects: str) -> None:
        """The lead got exactly these mails, each one once and with the booking link."""
        mails = self.mails
        assert [mail.subject for mail in mails] == list(subjects)
        assert len({mail.message_id for mail in mails}) == len(mails)
        for mail in mails:
            assert mail.recipients == [self.email]
            assert mail.message["to"] == self.email
            assert mail.sender == "sojourn@example.com"
            assert mail.message_id.startswith("<")
            assert BOOKING_URL in mail.text
            assert f'href="{BOOKING_URL}"' in mail.html
            assert "Ada" in mail.text
            assert "Ada" in mail.html


async def submit(
    app: FastAPI, api: AsyncClient, database: Database, mailbox: Mailbox, budget: int
) -> Journey:
    """Submit the form `contact` as a visitor, who has no key, and begin a journey."""
    email = f"ada.{uuid4().hex[:12]}@example.com"
    fields = {"email": email, "name": "Ada", "company": "Analytical Engines", "budget": budget}
    async with AsyncClient(transport=ASGITransport(app=app), base_url=ADDRESS) as visitor:
        answer = await visitor.post("/api/v1/forms/contact/submissions", json={"fields": fields})
        assert answer.status_code == 201, answer.text
    told = answer.json()
    return Journey(api, database, mailbox, email, told["lead_id"], told["run_id"])
