"""Retention: policies, counts by age, and pruning in batches."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel

from db import retention
from db.base import now
from db.engine import Database
from db.ids import new_id
from schemas.errors import InputError

# As many days ago.
AGES = (0, 5, 20, 60, 200, 400)


async def fill(database: Database, workspace: str, copies: int = 1) -> None:
    """Store ended and open runs with a step, a key and a wait each, and events, of all ages."""
    tables = SQLModel.metadata.tables
    rows: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in (
            "runs",
            "run_steps",
            "idempotency_keys",
            "event_waits",
            "events",
            "audit_entries",
        )
    }
    for age in AGES * copies:
        at = now() - timedelta(days=age, minutes=1)
        for ended in (True, False):
            run_id = new_id()
            rows["runs"].append(
                {
                    "id": run_id,
                    "workspace": workspace,
                    "definition": "demo",
                    "version": 1,
                    "status": "completed" if ended else "waiting",
                    "input": {},
                    "priority": 3,
                    "seq": 0,
                    "workflow_id": run_id,
                    "created_at": at,
                    "updated_at": at,
                    "checked_at": at,
                    "finished_at": at if ended else None,
                    "rated": True,
                }
            )
            rows["run_steps"].append(
                {
                    "run_id": run_id,
                    "path": "a",
                    "workspace": workspace,
                    "position": 1,
                    "id": "a",
                    "type": "set",
                    "status": "completed",
                    "attempts": 1,
                }
            )
            rows["idempotency_keys"].append(
                {
                    "workspace": workspace,
                    "key": run_id,
                    "fingerprint": "",
                    "run_id": run_id,
                    "created_at": at,
                }
            )
            rows["event_waits"].append(
                {
                    "run_id": run_id,
                    "path": "a",
                    "step": "a",
                    "workspace": workspace,
                    "workflow_id": run_id,
                    "type": "t",
                    "key": "k",
                    "open": not ended,
                    "created_at": at,
                }
            )
        rows["events"].append(
            {
                "workspace": workspace,
                "id": new_id(),
                "source": "s",
                "type": "t",
                "key": "k",
                "time": at,
                "received_at": at,
                "matched": 0,
                "started": 0,
            }
        )
        rows["audit_entries"].append({
            "id": new_id(), "workspace": workspace, "actor": "a", "action": "b", "subject": "c",
            "created_at": at,
        })  # fmt: skip
    async with database.session() as session:
        connection = await session.connection()
        for name, values in rows.items():
            await connection.execute(sa.insert(tables[name]), values)


async def count(database: Database, workspace: str, table: str) -> int:
    statement = (
        sa.select(sa.func.count())
        .select_from(sa.table(table))
        .where(sa.column("workspace") == workspace)
    )
    async with database.session() as session:
        return (await (await session.connection()).execute(statement)).scalar_one()


async def test_policies_have_defaults_and_bounds(database: Database, workspace: str) -> None:
    async with database.session() as session:
        found = await retention.policies(session, workspace)
        assert (found["runs"], found["events"], found["lead_events"]) == (90, 30, None)
        await retention.set_policies(
            session, workspace, {"runs": 30, "audit": None}, actor="somebody"
        )
    async with database.session() as session:
        found = await retention.policies(session, workspace)
        assert (found["runs"], found["audit"], found["events"]) == (30, None, 30)
        for name, days in (("runs", 0), ("idempotency_keys", 7), ("audit", 10**6), ("moon", 3)):
            with pytest.raises(InputError, match=f"policies.{name}"):
                await retention.set_policies(session, workspace, {name: days}, actor="somebody")


async def test_statistics_count_by_age(database: Database, workspace: str) -> None:
    await fill(database, workspace)
    async with database.session() as session:
        found = await retention.statistics(session, workspace)
        due = await retention.count_due(session, workspace)
    assert found["events"].buckets == (1, 1, 1, 1, 1, 1)
    assert found["runs"].rows == 6  # open ones do not age
    assert found["runs"].oldest is not None
    assert found["runs"].oldest < now() - timedelta(days=400)
    assert (due["runs"], due["events"], due["audit"]) == (2, 3, 1)
    assert "lead_events" not in due


async def test_pruning_takes_what_is_old_and_all_that_belongs_to_it(
    database: Database, workspace: str
) -> None:
    await fill(database, workspace)
    async with database.session() as session:
        due = await retention.count_due(session, workspace)
    done = await retention.prune(database, workspace, seconds=30)
    assert not done.more
    assert done.rows["runs"] == due["runs"] == 2
    tables = ("runs", "run_steps", "events", "audit_entries")
    left = [await count(database, workspace, table) for table in tables]
    assert left == [10, 10, 3, 5]
    # Keys of more than 8 days go as well; waits stay with their open runs.
    assert await count(database, workspace, "idempotency_keys") == 4
    assert await count(database, workspace, "event_waits") == 10
    again = await retention.prune(database, workspace, seconds=30)
    assert sum(again.rows.values()) == 0


async def test_pruning_works_in_batches_beside_others_and_stops_in_time(
    database: Database, workspace: str
) -> None:
    await fill(database, workspace, copies=150)
    stopped = await retention.prune(database, workspace, seconds=0)
    assert stopped.more
    done = await asyncio.gather(
        *(retention.prune(database, workspace, seconds=30) for _ in range(2))
    )
    assert sum(one.rows["runs"] for one in done) == 300
    assert await count(database, workspace, "runs") == 1500


async def test_counters_of_budgets_go_with_their_runs(database: Database, workspace: str) -> None:
    await fill(database, workspace)
    tables = SQLModel.metadata.tables
    old, young = now() - timedelta(days=100), now() - timedelta(hours=1)
    async with database.session() as session:
        connection = await session.connection()
        known = sa.select(tables["runs"].c.id).where(
            tables["runs"].c.workspace == workspace,
            tables["runs"].c.finished_at.is_(None),
        )
        open_run = (await connection.execute(known)).scalars().first()
        rows = [
            {"workspace": workspace, "scope": scope, "cost": 1, "tokens": 1, "updated_at": at}
            for scope, at in (
                (f"run/{open_run}", old),
                ("run/gone", old),
                ("run/gone-lately", young),
                ("day/2020-01-31", old),
                ("day/today", young),
            )
        ]
        await connection.execute(sa.insert(tables["ai_spending"]), rows)
        usage = {
            "id": new_id(), "workspace": workspace, "definition": "demo", "run_id": "gone",
            "budget_run_id": "gone", "step_path": "a", "step_key": "a", "provider": "p",
            "model": "m", "state": "settled", "input_tokens": 1, "output_tokens": 1,
            "price_known": True, "held_cost": 0, "held_tokens": 0, "cached": False,
            "repair": False, "at": old,
        }  # fmt: skip
        await connection.execute(sa.insert(tables["ai_usage"]), [usage])
        due = await retention.count_due(session, workspace)
    assert due["ai_spending"] == 2
    assert "ai_usage" not in due  # what was paid is kept, until somebody says for how long
    async with database.session() as session:
        await retention.set_policies(session, workspace, {"ai_usage": 30}, actor="somebody")
    done = await retention.prune(database, workspace, seconds=30)
    assert (done.rows["ai_spending"], done.rows["ai_usage"]) == (2, 1)
    assert await count(database, workspace, "ai_spending") == 3
