"""Lists: pages without gaps, and as many statements for fifty rows as for one."""

from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient

from db import leads, projection, runs
from db.base import now
from db.engine import Database
from db.leads import LeadEventKind
from schemas.run import Projection, RunStatus, StepRecord, StepStatus
from tests.integration.api.conftest import Publish, a_name, counted


async def fill(database: Database, definition: str, count: int) -> list[str]:
    """Store finished runs of a definition that need no Temporal; gives their ids, newest first."""
    made = []
    async with database.session() as session:
        for index in range(count):
            run = await runs.insert_queued(
                session, "default", definition=definition, version=1, input={"n": index}
            )
            step = StepRecord(path="a", id="a", type="set", status=StepStatus.COMPLETED)
            await projection.project(
                await session.connection(),
                Projection(
                    workspace="default",
                    run_id=run.id,
                    seq=1,
                    status=RunStatus.COMPLETED if index % 2 else RunStatus.FAILED,
                    steps=[step.model_copy(update={"path": f"a{i}"}) for i in range(count)],
                ),
            )
            made.append(run.id)
    return made[::-1]


async def collect(api: AsyncClient, path: str, **query: Any) -> list[str]:
    """All ids of a list, page by page."""
    found: list[str] = []
    while True:
        page = (await api.get(path, params=query)).json()
        assert len(page["items"]) <= query["limit"]
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def test_pages_of_runs(api: AsyncClient, database: Database) -> None:
    name = a_name()
    made = await fill(database, name, 25)
    assert await collect(api, "/api/v1/runs", definition=name, limit=10) == made
    assert await collect(api, "/api/v1/runs", definition=name, limit=25) == made
    failed = await collect(api, "/api/v1/runs", definition=name, status="failed", limit=7)
    assert failed == made[::2]
    both = {"definition": name, "status": ["failed", "completed"], "limit": 25}
    assert await collect(api, "/api/v1/runs", **both) == made
    later = (now() + timedelta(minutes=1)).isoformat()
    assert await collect(api, "/api/v1/runs", definition=name, limit=25, to=later) == made
    assert await collect(api, "/api/v1/runs", definition=name, limit=25, **{"from": later}) == []


async def test_pages_of_leads_and_events(api: AsyncClient, database: Database) -> None:
    status = a_name()
    async with database.session() as session:
        lead = await leads.upsert(session, "default", f"{status}@example.com")
        await leads.set_status_and_fields(session, "default", lead.id, status=status)
        for index in range(6):
            other = await leads.upsert(session, "default", f"{status}-{index}@example.com")
            await leads.set_status_and_fields(session, "default", other.id, status=status)
        for _ in range(5):
            await leads.add_event(session, "default", lead.id, LeadEventKind.OPENED, at=now())
    assert len(set(await collect(api, "/api/v1/leads", status=status, limit=3))) == 7
    events = f"/api/v1/leads/{lead.id}/events"
    assert len(set(await collect(api, events, limit=2))) == 6


@pytest.mark.parametrize("rows", [1, 50])
async def test_statements_do_not_grow_with_rows(
    api: AsyncClient, database: Database, publish: Publish, rows: int
) -> None:
    name = await publish()
    for number in range(2, rows + 1):
        text = f"name: {name}\nsteps:\n  - {{id: s{number}, type: stop}}\n"
        await api.post(
            f"/api/v1/definitions/{name}/versions",
            content=text,
            headers={"content-type": "application/yaml"},
        )
    made = await fill(database, name, rows)
    async with database.session() as session:
        lead = await leads.upsert(session, "default", f"{name}@example.com")
        for _ in range(rows):
            await leads.add_event(session, "default", lead.id, LeadEventKind.SENT, at=now())
    costs = {
        f"/api/v1/runs?definition={name}": 1,
        f"/api/v1/runs/{made[0]}": 1,
        f"/api/v1/runs/{made[0]}/steps": 2,
        "/api/v1/definitions?limit=50": 1,
        f"/api/v1/definitions/{name}": 2,
        f"/api/v1/definitions/{name}/versions": 2,
        f"/api/v1/definitions/{name}/versions/1": 2,
        "/api/v1/leads?limit=50": 1,
        f"/api/v1/leads/{lead.id}": 1,
        f"/api/v1/leads/{lead.id}/events": 2,
        "/api/v1/templates": 1,
        "/api/v1/forms": 1,
    }
    for path, most in costs.items():
        with counted(database) as statements:
            answer = await api.get(path)
        assert answer.status_code == 200, path
        assert len(statements) <= most, (path, statements)
    assert len((await api.get(f"/api/v1/runs/{made[0]}/steps")).json()) == rows
