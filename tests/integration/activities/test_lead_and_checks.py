"""The lead action, the named checks and the record activity over PostgreSQL."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.registry import load
from activities.services import Services
from db import definitions, leads, runs
from db.ids import new_id
from schemas.run import Projection, RunStatus, StepRecord, StepStatus

if TYPE_CHECKING:
    from db.engine import Database

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run(services: Services) -> Run:
    """Run one activity by name, as a worker does."""
    functions = {
        getattr(function, "__temporal_activity_definition").name: function
        for function in load().activities(services)
    }

    async def call(name: str, *arguments: Any) -> Any:
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, start_to_close_timeout=timedelta(seconds=10))
        return await environment.run(functions[name], *arguments)

    return call


@pytest.fixture
async def lead(database: "Database") -> leads.Lead:
    async with database.session() as session:
        return await leads.upsert(
            session, "default", f"bob-{uuid4().hex}@example.com", fields={"budget": 2500}
        )


@pytest.fixture
def step(lead: leads.Lead) -> dict[str, Any]:
    return {
        "workspace": "default",
        "definition": "test",
        "run_id": new_id(),
        "path": "mark",
        "lead_id": lead.id,
    }


async def events(database: "Database", lead: leads.Lead) -> list[leads.LeadEvent]:
    async with database.session() as session:
        return (await leads.events(session, "default", lead.id)).items


# -- lead ------------------------------------------------------------------------------------


async def test_status_and_fields_are_set_once(
    run: Run, step: dict[str, Any], lead: leads.Lead, database: "Database"
) -> None:
    params = {"status": "failed", "fields": {"why": "budget"}}
    await run("lead", params, step)
    result = (await run("lead", params, step))["result"]
    assert result["id"] == lead.id
    assert result["status"] == "failed"
    assert result["fields"] == {"budget": 2500, "why": "budget"}
    (event,) = await events(database, lead)
    assert event.kind == "status_changed"
    assert event.data == {"from": "new", "to": "failed"}
    assert (event.run_id, event.step_path) == (step["run_id"], "mark")


async def test_fields_alone_are_no_change_of_status(
    run: Run, step: dict[str, Any], lead: leads.Lead, database: "Database"
) -> None:
    answer = await run("lead", {"fields": {"a": [1]}}, step)
    assert answer["result"]["status"] == "new"
    assert await events(database, lead) == []


@pytest.mark.parametrize(
    ("params", "change", "code"),
    [
        ({"status": "x"}, {"lead_id": None}, "NOT_FOUND"),
        ({"status": "x", "lead": "0190c0de-0000-7000-8000-000000000009"}, {}, "NOT_FOUND"),
        ({"status": "x"}, {"workspace": "other"}, "NOT_FOUND"),
        ({}, {}, "INVALID_INPUT"),
        ({"status": "Not A Status"}, {}, "INVALID_INPUT"),
    ],
)
async def test_leads_that_cannot_be_set(
    run: Run, step: dict[str, Any], params: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    with pytest.raises(ApplicationError) as caught:
        await run("lead", params, step | change)
    assert caught.value.type == code
    assert caught.value.non_retryable


# -- checks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "given", "verdict"),
    [
        ({"threshold": 2500}, {}, True),
        ({"threshold": 2501}, {}, False),
        ({"threshold": 100, "budget": 99}, {}, False),
        ({"threshold": 100, "budget": "150.5"}, {}, True),
        ({"threshold": 100}, {"lead_id": None, "input": {"budget": 120}}, True),
        ({"threshold": 100}, {"lead_id": None, "input": {"budget": "80"}}, False),
    ],
)
async def test_budget_qualification(
    run: Run,
    step: dict[str, Any],
    params: dict[str, Any],
    given: dict[str, Any],
    verdict: bool,
) -> None:
    assert await run("check", "budget_qualification", params, step | given) is verdict


@pytest.mark.parametrize("budget", [None, "plenty"])
async def test_no_budget_is_an_error_and_no_silent_false(
    run: Run, step: dict[str, Any], budget: str | None
) -> None:
    given = {"lead_id": None, "input": {"budget": budget}}
    with pytest.raises(ApplicationError) as caught:
        await run("check", "budget_qualification", {"threshold": 1}, step | given)
    assert caught.value.type == "INVALID_INPUT"
    assert "with.budget" in caught.value.details[0]["hint"]


async def add(
    database: "Database",
    lead: leads.Lead,
    kind: str,
    *,
    at: datetime | None = None,
    run_id: str | None = None,
    step_path: str | None = None,
) -> None:
    async with database.session() as session:
        await leads.add_event(
            session,
            "default",
            lead.id,
            leads.LeadEventKind(kind),
            at=at or datetime.now(UTC),
            run_id=run_id,
            step_path=step_path,
        )


@pytest.mark.parametrize(
    ("check", "kind", "others"),
    [
        ("reply_received", "replied", ["opened", "clicked", "booked", "sent", "auto_replied"]),
        ("booking_completed", "booked", ["replied", "clicked"]),
        ("email_opened", "opened", ["sent", "replied"]),
        ("email_clicked", "clicked", ["opened"]),
    ],
)
async def test_what_a_lead_did(
    run: Run,
    step: dict[str, Any],
    lead: leads.Lead,
    database: "Database",
    check: str,
    kind: str,
    others: list[str],
) -> None:
    for other in others:
        await add(database, lead, other)
    # Before the run began: the time is in the run's id.
    await add(database, lead, kind, at=datetime.now(UTC) - timedelta(hours=1))
    assert await run("check", check, {}, step) is False
    assert await run("check", check, {"since": "2020-01-01T00:00:00Z"}, step) is True
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await add(database, lead, kind)
    assert await run("check", check, {}, step) is True
    assert await run("check", check, {}, step | {"started_at": later}) is False
    by_email = {"lead": lead.email.upper()}
    assert await run("check", check, by_email, step | {"lead_id": None}) is True


OTHER = {"run_id": new_id()}
LONG_AGO = {"started_at": "2020-01-01T00:00:00Z"}


async def test_opened_by_step(
    run: Run, step: dict[str, Any], lead: leads.Lead, database: "Database"
) -> None:
    await add(database, lead, "opened", step_path="welcome", run_id=step["run_id"])
    assert await run("check", "email_opened", {"step": "welcome"}, step) is True
    assert await run("check", "email_opened", {"step": "followup"}, step) is False
    # Another run of the definition has had its own.
    assert await run("check", "email_opened", {"step": "welcome"}, step | OTHER) is False
    assert await run("check", "email_opened", {}, step | OTHER | LONG_AGO) is True


@pytest.mark.parametrize(
    ("params", "change", "code"),
    [
        ({}, {"lead_id": None}, "NOT_FOUND"),
        ({"lead": "nobody@example.com"}, {}, "NOT_FOUND"),
        ({"since": "yesterday"}, {}, "INVALID_INPUT"),
        ({"step": 1}, {}, "INVALID_INPUT"),
        ({"unknown": 1}, {}, "INVALID_INPUT"),
    ],
)
async def test_checks_that_cannot_be_answered(
    run: Run, step: dict[str, Any], params: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    with pytest.raises(ApplicationError) as caught:
        await run("check", "reply_received", params, step | change)
    assert caught.value.type == code
    assert caught.value.non_retryable


# -- record ----------------------------------------------------------------------------------


async def test_a_projection_reaches_its_row(run: Run, database: "Database") -> None:
    name = f"record-{uuid4().hex[:8]}"
    async with database.session() as session:
        await definitions.create(session, "default", name, {"name": name}, "name: x", publish=True)
        row = await runs.insert_queued(session, "default", definition=name, version=1, input={})
    projection = Projection(
        workspace="default",
        run_id=row.id,
        seq=1,
        status=RunStatus.RUNNING,
        steps=[StepRecord(path="a", id="a", type="set", status=StepStatus.COMPLETED)],
    )
    await asyncio.gather(*(run("record", projection.model_dump(mode="json")) for _ in range(3)))
    async with database.session() as session:
        stored = await runs.get(session, "default", row.id)
        assert (stored.status, stored.seq) == (RunStatus.RUNNING, 1)
        assert [one.path for one in await runs.steps(session, "default", row.id)] == ["a"]


async def test_without_a_database_recording_waits() -> None:
    from db.engine import Database

    away = Database("postgresql://nobody@127.0.0.1:1/none")
    functions = {
        getattr(function, "__temporal_activity_definition").name: function
        for function in load().activities(Services(database=away))
    }
    projection = Projection(workspace="w", run_id="r", seq=1, status=RunStatus.RUNNING)
    with pytest.raises(ApplicationError) as caught:
        await ActivityEnvironment().run(functions["record"], projection.model_dump(mode="json"))
    assert caught.value.type == "DATABASE_UNAVAILABLE"
    assert not caught.value.non_retryable
    await away.close()
