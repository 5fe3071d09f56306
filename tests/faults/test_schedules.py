"""A schedule across a crash of Temporal, with two API processes: one run for each due time."""

import time
from datetime import UTC, datetime, timedelta

from httpx2 import AsyncClient

from tests.faults.evidence import figures
from tests.faults.stand import Stand, until

DEFINITION = """
name: ticking
input: {type: object, required: [at], properties: {at: {type: string}}}
steps: [{id: note, type: set, vars: {at: "{{ input.at }}"}}]
"""
TRIGGERS = "/api/v1/definitions/ticking/triggers"
CATCHUP = timedelta(seconds=10)
_SECOND = timedelta(seconds=1)
# Seconds that Temporal is away, in the short form and in the long one.
AWAY = (3.0, 25.0)


async def add(api: AsyncClient) -> str:
    """Publish the definition, and have it start every second."""
    await api.post(
        "/api/v1/definitions?publish=true",
        content=DEFINITION,
        headers={"content-type": "application/yaml"},
    )
    body = {
        "kind": "schedule",
        "every": "1s",
        "overlap": "allow",
        "catchup": f"{CATCHUP.total_seconds():g}s",
        "input": {"at": "{{ schedule.time }}"},
    }
    answer = await api.post(TRIGGERS, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def runs(api: AsyncClient, begun: datetime) -> list[tuple[datetime, str]]:
    """Give due time and status of each run since then, in the order of due times."""
    query = {"definition": "ticking", "limit": "200", "from": begun.isoformat()}
    listed = (await api.get("/api/v1/runs", params=query)).json()["items"]
    shown = [(await api.get(f"/api/v1/runs/{run['id']}")).json() for run in listed]
    return sorted((datetime.fromisoformat(run["input"]["at"]), run["status"]) for run in shown)


async def test_each_due_time_has_one_run(stand: Stand, long: bool) -> None:
    away = AWAY[long]
    await stand.start_worker()
    second = await stand.start_other_api()
    begun = datetime.now(UTC)
    try:
        async with stand.api() as api:
            trigger = await add(api)

            async def has_run_since(moment: datetime) -> bool:
                return any(due >= moment for due, _ in await runs(api, begun))

            await until(lambda: has_run_since(begun + 2 * _SECOND), "the schedule is at work")
            stand.kill_temporal()
            killed = datetime.now(UTC)
            end = time.monotonic() + away

            async def over() -> bool:
                return time.monotonic() > end

            await until(over, "Temporal was away for long enough")
            await stand.restart_temporal()
            back = datetime.now(UTC)
            await until(lambda: has_run_since(back + 2 * _SECOND), "the schedule is back at work")
            assert (await api.post(f"{TRIGGERS}/{trigger}/pause")).status_code == 204

            async def settled() -> bool:
                return all(status == "completed" for _, status in await runs(api, begun))

            await until(settled, "all runs have ended")
            found = [due for due, _ in await runs(api, begun)]
            await api.delete(f"{TRIGGERS}/{trigger}")
    finally:
        second.kill()
    slots = [
        found[0] + number * _SECOND for number in range(round((found[-1] - found[0]) / _SECOND) + 1)
    ]
    assert sorted(set(found)) == found, "a due time ran twice"
    missing = sorted(set(slots) - set(found))
    figures(
        "T17 a schedule while Temporal is away",
        api_processes=2,
        seconds_away=away,
        due_times=len(slots),
        runs=len(found),
        twice=len(found) - len(set(found)),
        older_than_the_catch_up=len(missing),
    )
    if away < CATCHUP.total_seconds():
        assert missing == []
    else:
        # Temporal catches up from the moment at which it is at work again.
        assert missing
        assert killed - 2 * _SECOND <= missing[0]
        assert missing[-1] <= back - CATCHUP + 2 * _SECOND
