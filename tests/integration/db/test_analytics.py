"""Figures of analytics equal those counted by hand over random rows."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.config import ApiConfig
from db import analytics_days
from db.analytics_variants import wilson
from db.engine import Database
from schemas.actions import Catalogue
from tests.integration.db.analytics_rows import (
    NAMES,
    Rows,
    forget,
    generate,
    is_whole,
    run_figures,
    step_figures,
    store,
    waiting_steps,
    waking,
)
from workflows.gateway import Gateway
from workflows.setup import connect

KEY = "test-key-0123456789"
NEVER = datetime(1999, 1, 1, tzinfo=UTC)
EVER = datetime(9000, 1, 1, tzinfo=UTC)


@pytest.fixture(params=[1, 3])
async def rows(
    request: pytest.FixtureRequest, database: Database, workspace: str
) -> AsyncIterator[Rows]:
    found = generate(workspace, request.param)
    await store(database, found)
    yield found
    await forget(database, workspace)


@pytest.fixture
async def api(
    database: Database, catalogue: Catalogue, workspace: str
) -> AsyncIterator[AsyncClient]:
    app = create_app(
        database=database,
        # Nothing here asks Temporal.
        gateway=Gateway(await connect("127.0.0.1:1", lazy=True)),
        catalogue=catalogue,
        config=ApiConfig(api_key=KEY, workspace=workspace),
    )
    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver/api/v1",
        headers={"X-API-Key": KEY},
    ) as client:
        yield client


async def get(api: AsyncClient, path: str, **params: Any) -> Any:
    answer = await api.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def spans(found: Rows) -> list[tuple[int | None, datetime, datetime]]:
    """Spans with whole days, parts of days, one day, nothing; of all versions and of one."""
    noon = found.present.replace(hour=12, minute=30)
    midnight = found.present.replace(hour=0, minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    return [
        (None, NEVER, EVER),
        (1, NEVER, EVER),
        (None, noon - 4 * day, noon - day),
        (2, midnight - 3 * day, midnight - day),
        (None, midnight - 2 * day, noon - 2 * day),
        (None, noon - 2 * day, noon - 2 * day + timedelta(hours=3)),
        (None, noon - 3 * day, noon - 4 * day),
        (None, noon + day, EVER),
    ]


def asked(version: int | None, since: datetime, until: datetime) -> dict[str, Any]:
    given: dict[str, Any] = {"from": max(since, datetime(1971, 1, 1, tzinfo=UTC)).isoformat()}
    if version is not None:
        given["version"] = version
    if until != EVER:
        given["to"] = until.isoformat()
    return given


def assert_runs(shown: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("p50_ms", "p95_ms"):
        value = expected.pop(name)
        assert shown[name] == (None if value is None else pytest.approx(value, abs=0.01))
    assert {name: shown[name] for name in expected} == expected


async def assert_steps(api: AsyncClient, found: Rows) -> None:
    for name in NAMES:
        for version, since, until in spans(found):
            shown = await get(
                api, f"/analytics/definitions/{name}/steps", **asked(version, since, until)
            )
            expected = step_figures(found, found.of(name, version, since, until))
            assert [step["step"] for step in shown["steps"]] == sorted(expected)
            assert shown["retries"] == sum(row["retries"] for row in expected.values())
            for step in shown["steps"]:
                row = expected[step["step"]]
                for key in ("total", "started", "retried", "retries", "by_status", "errors"):
                    assert step[key] == row[key], (name, version, since, until, step["step"], key)
                assert step["completed"] == row["by_status"]["completed"]
                assert step["mean_ms"] == (
                    pytest.approx(sum(row["ms"]) / len(row["ms"])) if row["ms"] else None
                )


async def test_runs_equal_a_count_by_hand(api: AsyncClient, rows: Rows) -> None:
    for name in NAMES:
        for version, since, until in spans(rows):
            shown = await get(api, f"/analytics/definitions/{name}", **asked(version, since, until))
            runs = rows.of(name, version, since, until)
            assert_runs(shown["runs"], run_figures(runs))
            whole = [run for run in runs if is_whole(run)]
            assert [each["version"] for each in shown["versions"]] == sorted(
                {run["version"] for run in whole}
            )
            for each in shown["versions"]:
                of_version = [run for run in runs if run["version"] == each["version"]]
                assert_runs(each, run_figures(of_version))
            failed = [run for run in whole if run["status"] in ("failed", "timed_out")]
            codes = Counter(
                (run["error"] or {}).get("code", run["status"].upper()) for run in failed
            )
            assert shown["errors"] == codes
            calls = [
                call
                for call in rows.ai_usage
                if call["definition"] == name and any(call["run_id"] == run["id"] for run in runs)
            ]
            assert shown["ai"] == {
                "calls": sum(c["state"] == "settled" and not c["cached"] for c in calls),
                "input_tokens": sum(c["input_tokens"] for c in calls),
                "output_tokens": sum(c["output_tokens"] for c in calls),
                "cost_usd": sum(c["cost"] or 0 for c in calls),
            }
    shown = await get(api, "/analytics/overview")
    assert_runs(shown["runs"], run_figures(rows.runs))
    for each in shown["definitions"]:
        of_name = [run for run in rows.runs if run["definition"] == each["definition"]]
        assert_runs(each, run_figures(of_name))
    assert {each["definition"] for each in shown["definitions"]} == set(NAMES)


async def test_steps_equal_a_count_by_hand_whatever_days_are_counted(
    api: AsyncClient, rows: Rows, database: Database, workspace: str
) -> None:
    await assert_steps(api, rows)
    # As if it were three days earlier, then now, then once more.
    earlier = await analytics_days.roll(
        database, workspace, present=rows.present - timedelta(days=3)
    )
    assert earlier.days
    await assert_steps(api, rows)
    later = await analytics_days.roll(database, workspace)
    assert later.days
    assert later.days[0] > earlier.days[-1]
    await assert_steps(api, rows)
    assert (await analytics_days.roll(database, workspace)).days == []

    # Some runs are pruned, and one is found to have ended long ago.
    gone = [run for run in rows.runs if run["finished_at"] is not None][:20]
    ids = [run["id"] for run in gone]
    late = next(run for run in rows.runs if run["finished_at"] is None)
    late["status"], late["finished_at"] = "terminated", rows.present - timedelta(days=2, hours=2)
    async with database.session() as session:
        connection = await session.connection()
        await connection.execute(sa.text("DELETE FROM runs WHERE id = ANY(:ids)"), {"ids": ids})
        await connection.execute(
            sa.text("UPDATE runs SET status = 'terminated', finished_at = :at WHERE id = :id"),
            {"at": late["finished_at"], "id": late["id"]},
        )
    rows.runs = [run for run in rows.runs if run["id"] not in ids]
    assert (await analytics_days.roll(database, workspace)).days
    await assert_steps(api, rows)


async def test_waiting_and_wakes_equal_a_count_by_hand(api: AsyncClient, rows: Rows) -> None:
    for name in NAMES:
        shown = await get(api, f"/analytics/definitions/{name}/waiting", days=10)
        steps = waiting_steps(rows, name)
        assert {each["step"]: each["waiting"] for each in shown["waiting"]} == Counter(
            step["id"] for step in steps
        )
        for each in shown["waiting"]:
            own = [step for step in steps if step["id"] == each["step"]]
            assert datetime.fromisoformat(each["oldest"]) == min(s["started_at"] for s in own)
            timers = [step["until"] for step in own if step["until"] is not None]
            assert each["next"] == (None if not timers else each["next"])
            if timers:
                assert datetime.fromisoformat(each["next"]) == min(timers)
        expected = waking(rows, name, 10)
        assert {each["day"]: each["timers"] for each in shown["wakes"]} == {
            day.isoformat(): count for day, count in expected.items()
        }


async def test_the_funnel_equals_a_count_by_hand(api: AsyncClient, rows: Rows) -> None:
    versions = {run["id"]: run["version"] for run in rows.runs}
    for name in NAMES:
        for version, since, until in spans(rows):
            shown = await get(
                api, f"/analytics/definitions/{name}/funnel", **asked(version, since, until)
            )
            mails = [
                mail
                for mail in rows.mail_messages
                if mail["definition"] == name
                and mail["state"] == "sent"
                and since <= mail["created_at"] < until
                and version in (None, versions[mail["run_id"]])
            ]

            def people(column: str, mails: list[dict[str, Any]] = mails) -> int:
                return len({m["to_address"] for m in mails if m[column] is not None})

            firsts: dict[str, datetime] = {}
            for mail in sorted(mails, key=lambda mail: mail["sent_at"]):
                firsts.setdefault(mail["lead_id"], mail["sent_at"])
            booked = {
                event["lead_id"]
                for event in rows.lead_events
                if event["kind"] == "booked"
                and event["lead_id"] in firsts
                and event["at"] >= firsts[event["lead_id"]]
            }
            columns = ("sent_at", "opened_at", "clicked_at", "replied_at")
            assert [stage["people"] for stage in shown["stages"]] == [
                *(people(column) for column in columns),
                len(booked),
            ]
            assert shown["bounced"] == people("bounced_at")
            assert {step["step"]: step["sent"] for step in shown["steps"]} == Counter(
                mail["step_path"].rsplit(".", 1)[-1] for mail in mails
            )
            for step in shown["steps"]:
                own = [mail for mail in mails if mail["step_path"].endswith(step["step"])]
                for column in ("opened", "clicked", "replied", "bounced", "unsubscribed"):
                    assert step[column] == sum(mail[f"{column}_at"] is not None for mail in own)


@pytest.mark.parametrize("goal", ["completed", "replied", "booked"])
async def test_variants_equal_a_count_by_hand(api: AsyncClient, rows: Rows, goal: str) -> None:
    splits = {step["run_id"]: step for step in rows.run_steps if step["type"] == "split"}
    for name in NAMES:
        for version, since, until in spans(rows):
            shown = await get(
                api,
                f"/analytics/definitions/{name}/variants",
                step="test",
                goal=goal,
                **asked(version, since, until),
            )
            expected: dict[str, list[bool]] = {}
            for run in rows.of(name, version, since, until):
                split = splits[run["id"]]
                if split["choice"] is None:
                    continue
                reached = run["status"] == "completed"
                if goal != "completed":
                    reached = any(
                        event["lead_id"] == run["lead_id"]
                        and event["kind"] == goal
                        and event["at"] >= split["started_at"]
                        for event in rows.lead_events
                    )
                expected.setdefault(split["choice"], []).append(reached)
            assert {
                each["variant"]: (each["runs"], each["conversions"]) for each in shown["variants"]
            } == {choice: (len(hits), sum(hits)) for choice, hits in expected.items()}


def test_wilson_intervals() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
    # 17 (1998), table I, method 3.
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(20, 20)[1] == 1.0


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/analytics/definitions/nothing", {}, 404),
        ("/analytics/definitions/nothing/steps", {}, 404),
        ("/analytics/definitions/nothing/waiting", {}, 404),
        ("/analytics/overview", {"from": "2026-01-01T00:00:00"}, 422),
        ("/analytics/overview", {"to": "0001-01-01T00:00:00+05:00"}, 422),
        ("/analytics/overview", {"from": "9999-12-31T23:59:59Z"}, 422),
    ],
)
async def test_what_cannot_be_answered(
    api: AsyncClient, path: str, params: dict[str, str], status: int
) -> None:
    assert (await api.get(path, params=params)).status_code == status
