"""Random rows for analytics, and the same figures counted by hand from them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlmodel import SQLModel

from db.engine import Database
from db.ids import new_id
from schemas.run import TERMINAL, RunStatus, StepStatus

NAMES = ("first", "second")
_ENDS = sorted(TERMINAL)
_OPEN = sorted(set(RunStatus) - TERMINAL)
_CODES = ("HTTP_ERROR", "STEP_TIMEOUT", "CODE_ERROR")

Row = dict[str, Any]


@dataclass
class Rows:
    """What is in the tables of one workspace."""

    workspace: str
    present: datetime
    runs: list[Row] = field(default_factory=list)
    run_steps: list[Row] = field(default_factory=list)
    leads: list[Row] = field(default_factory=list)
    lead_events: list[Row] = field(default_factory=list)
    mail_messages: list[Row] = field(default_factory=list)
    ai_usage: list[Row] = field(default_factory=list)

    def of(self, name: str, version: int | None, since: datetime, until: datetime) -> list[Row]:
        """The runs of a scope, batches among them."""
        return [
            run
            for run in self.runs
            if run["definition"] == name
            and version in (None, run["version"])
            and since <= run["created_at"] < until
        ]


def generate(workspace: str, seed: int, runs: int = 250) -> Rows:
    """Make runs of six days with all that belongs to them."""
    random = Random(seed)
    found = Rows(workspace, datetime.now(UTC))
    for number in range(20):
        found.leads.append(
            {
                "id": new_id(),
                "workspace": workspace,
                "email": f"lead{number}@{workspace}.example.com",
                "status": "new",
                "fields": {},
                "created_at": found.present,
                "updated_at": found.present,
            }
        )
    for _ in range(runs):
        _add_run(found, random)
    for _ in range(120):
        lead = random.choice(found.leads)
        at = found.present - timedelta(hours=random.uniform(0, 150))
        found.lead_events.append(
            {
                "id": new_id(),
                "workspace": workspace,
                "lead_id": lead["id"],
                "kind": random.choice(("opened", "clicked", "replied", "booked", "sent")),
                "at": at,
                "created_at": at,
            }
        )
    return found


def _add_run(found: Rows, random: Random) -> None:
    made = found.present - timedelta(hours=random.uniform(0, 144))
    started = made + timedelta(seconds=1)
    ended = started + timedelta(seconds=random.uniform(1, 40_000))
    is_open = ended > found.present or random.random() < 0.2
    status = random.choice(_OPEN if is_open else _ENDS)
    batch = random.random() < 0.1
    failed = status in ("failed", "timed_out")
    run: Row = {
        "id": new_id(),
        "workspace": found.workspace,
        "definition": random.choice(NAMES),
        "version": random.randint(1, 2),
        "status": status,
        "input": {},
        "error": {"code": random.choice(_CODES)} if failed and random.random() < 0.9 else None,
        "lead_id": random.choice(found.leads)["id"] if random.random() < 0.8 else None,
        "parent_path": "each[200]" if batch else random.choice((None, None, "sub")),
        "priority": 3,
        "rated": False,
        "seq": 1,
        "workflow_id": new_id(),
        "created_at": made,
        "started_at": started,
        "finished_at": None if is_open else ended,
        "updated_at": made,
        "checked_at": made,
    }
    found.runs.append(run)
    for step, kind in (("each", "for_each"), ("send", "email"), ("test", "split"), ("go", "wait")):
        for index in range(random.randint(1, 3) if step == "send" else 1):
            path = f"each[{index}].send" if step == "send" else step
            found.run_steps.append(_step(found, random, run, step, kind, path))
    for index in range(random.randint(0, 2)):
        found.mail_messages.append(_mail(found, random, run, index))
    if random.random() < 0.3:
        found.ai_usage.append(_call(random, run))


def _step(found: Rows, random: Random, run: Row, step: str, kind: str, path: str) -> Row:
    over = run["finished_at"] is not None
    status = random.choice([one for one in StepStatus if one.done or not over])
    begun = run["started_at"] + timedelta(seconds=random.uniform(0, 5))
    until = None
    if status == "waiting" and random.random() < 0.8:
        until = found.present + timedelta(hours=random.uniform(-5, 400))
    return {
        "run_id": run["id"],
        "path": path,
        "workspace": found.workspace,
        "position": 1,
        "id": step,
        "type": kind,
        "status": status,
        "attempts": random.choice((0, 1, 1, 2, 4)),
        "error_code": random.choice(_CODES) if status == "failed" else None,
        "started_at": begun,
        "duration_ms": random.randint(0, 9000) if status.done else None,
        "until": until,
        "choice": random.choice(("a", "b", "holdout", None)) if kind == "split" else None,
    }


def _mail(found: Rows, random: Random, run: Row, index: int) -> Row:
    at = run["created_at"] + timedelta(minutes=1)
    lead = random.choice(found.leads)

    def maybe(share: float) -> datetime | None:
        return at if random.random() < share else None

    return {
        "id": new_id(),
        "workspace": found.workspace,
        "step_key": new_id(),
        "run_id": run["id"],
        "definition": run["definition"],
        "step_path": f"each[{index}].send" if index else "welcome",
        "lead_id": lead["id"],
        "to_address": lead["email"],
        "message_id": new_id(),
        "state": random.choice(("sent", "sent", "sent", "failed", "suppressed")),
        "attempts": 1,
        "sent_at": at,
        "tracking_id": new_id(),
        "opened_at": maybe(0.5),
        "clicked_at": maybe(0.3),
        "replied_at": maybe(0.1),
        "bounced_at": maybe(0.05),
        "unsubscribed_at": maybe(0.05),
        "created_at": at,
    }


def _call(random: Random, run: Row) -> Row:
    return {
        "id": new_id(),
        "workspace": run["workspace"],
        "definition": run["definition"],
        "run_id": run["id"],
        "budget_run_id": run["id"],
        "step_path": "ask",
        "step_key": new_id(),
        "provider": "openai",
        "model": "m",
        "state": random.choice(("settled", "settled", "failed", "reserved")),
        "input_tokens": random.randint(1, 500),
        "output_tokens": random.randint(1, 500),
        "cost": random.choice((None, 0.25, 0.5)),
        "price_known": True,
        "held_cost": 0,
        "held_tokens": 0,
        "cached": random.random() < 0.2,
        "repair": False,
        "at": run["created_at"],
    }


async def store(database: Database, found: Rows) -> None:
    """Insert the definitions and all the rows."""
    tables = SQLModel.metadata.tables
    names = [
        {
            "id": new_id(),
            "workspace": found.workspace,
            "name": name,
            "latest_version": 2,
            "created_at": found.present,
            "updated_at": found.present,
        }
        for name in NAMES
    ]
    order = ("runs", "run_steps", "leads", "lead_events", "mail_messages", "ai_usage")
    async with database.session() as session:
        connection = await session.connection()
        await connection.execute(sa.insert(tables["definitions"]), names)
        for name in order:
            await connection.execute(sa.insert(tables[name]), getattr(found, name))


async def forget(database: Database, workspace: str) -> None:
    """Delete what `store` has inserted: open rows would be healed under other tests' hands."""
    tables = SQLModel.metadata.tables
    order = ("runs", "run_steps", "lead_events", "leads", "mail_messages", "ai_usage")
    async with database.session() as session:
        connection = await session.connection()
        for name in (*order, "definitions"):
            table = tables[name]
            await connection.execute(sa.delete(table).where(table.c.workspace == workspace))


def is_whole(run: Row) -> bool:
    """Whether a run is no batch of another's loop."""
    return not (run["parent_path"] or "").endswith("]")


def percentile(values: list[float], share: float) -> float:
    """Interpolate between the two nearest, as PostgreSQL's percentile_cont does."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def run_figures(runs: Iterable[Row]) -> Row:
    """Count runs as `RunStatistics` shows them."""
    whole = [run for run in runs if is_whole(run)]
    by_status = Counter(str(run["status"]) for run in whole)
    times = [
        (run["finished_at"] - run["started_at"]).total_seconds() * 1000
        for run in whole
        if run["status"] == "completed"
    ]
    judged = sum(by_status[name] for name in ("completed", "failed", "timed_out"))
    return {
        "total": len(whole),
        "by_status": dict(by_status),
        "success_rate": by_status["completed"] / judged if judged else None,
        "p50_ms": percentile(times, 0.5) if times else None,
        "p95_ms": percentile(times, 0.95) if times else None,
    }


def step_figures(found: Rows, runs: list[Row]) -> dict[str, Row]:
    """Count steps as `StepStatistics` shows them, by id."""
    by_id = {run["id"]: run for run in runs}
    figures: dict[str, Row] = {}
    for step in found.run_steps:
        run = by_id.get(step["run_id"])
        # A batch's run has the loop of the run above once more.
        if run is None or (not is_whole(run) and step["path"] == "each"):
            continue
        row = figures.setdefault(
            step["id"], {"by_status": Counter(), "errors": Counter(), "ms": [], **_NOUGHT}
        )
        row["total"] += 1
        row["by_status"][str(step["status"])] += 1
        row["started"] += step["attempts"] > 0 or step["status"] not in ("pending", "skipped")
        row["retried"] += step["attempts"] > 1
        row["retries"] += max(0, step["attempts"] - 1)
        if step["error_code"]:
            row["errors"][step["error_code"]] += 1
        if step["duration_ms"] is not None:
            row["ms"].append(step["duration_ms"])
    return figures


_NOUGHT = {"total": 0, "started": 0, "retried": 0, "retries": 0}


def waking(found: Rows, name: str, days: int) -> dict[date, int]:
    """Count timers by day, today's and overdue ones first."""
    today = found.present.date()
    counts = {today + timedelta(days=number): 0 for number in range(days)}
    for step in waiting_steps(found, name):
        if step["until"] is not None:
            day = max(step["until"], found.present).date()
            if day in counts:
                counts[day] += 1
    return counts


def waiting_steps(found: Rows, name: str) -> list[Row]:
    """The steps that wait in open runs."""
    open_ids = {
        run["id"]
        for run in found.runs
        if run["definition"] == name
        and run["status"] in ("running", "waiting", "paused", "compensating")
    }
    return [
        step
        for step in found.run_steps
        if step["status"] == "waiting" and step["run_id"] in open_ids
    ]
