"""PostgreSQL, the API and Temporal crash while runs sleep, and come back."""

import time

from httpx2 import Response
from temporalio.client import WorkflowExecutionStatus

from tests.faults.evidence import check_mails, check_within
from tests.faults.naps import Nap, ask, check_awake, fall_asleep
from tests.faults.stand import Stand, until

_RECOVERED = 30.0  # seconds after which rows must be right: twice the longest retry interval


def check_problem(answer: Response, code: str) -> None:
    """The answer says that a part is away, and when to try again."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["code"] == code


async def test_postgres_and_api_crash_while_timers_run_out(stand: Stand) -> None:
    await stand.start_worker()
    naps = await fall_asleep(stand, "database", [3, 3, 3, 8, 8])
    stand.kill_api()
    down = time.time()
    await stand.crash_postgres()
    await stand.start_api()
    async with stand.api() as api:
        where = f"/api/v1/runs/{naps[0].run_id}"
        check_problem(await api.get(where), "DATABASE_UNAVAILABLE")
        check_problem(await ask(stand, "nobody@example.com", 10), "DATABASE_UNAVAILABLE")
        assert (await api.get("/healthz")).status_code == 200
        readiness = await api.get("/readyz")
        assert (readiness.status_code, readiness.json()["down"]) == (503, ["database"])

        async def fired() -> bool:
            return all([await nap.fired_at(stand) for nap in naps[:3]])

        await until(fired, "the short timers have fired")
        for nap in naps:
            status = (await nap.handle(stand).describe()).status
            assert status is WorkflowExecutionStatus.RUNNING
        assert not stand.smtp.deliveries
        up = time.time()
        await stand.restart_postgres()

        await check_awake(stand, naps, _RECOVERED)
        check_within([await nap.fired_at(stand) or 0.0 for nap in naps[:3]], down, up)
        for nap in naps:
            shown = (await api.get(f"/api/v1/runs/{nap.run_id}")).json()
            assert (shown["status"], shown["output"]) == ("completed", {"slept": True})
    check_mails([mail for nap in naps for mail in nap.mails], stand.smtp.deliveries, [])


async def test_temporal_crashes_while_timers_run_out(stand: Stand) -> None:
    await stand.start_worker()
    naps = await fall_asleep(stand, "temporal", [2, 2, 2, 6, 6])
    due = time.time() + 2
    stand.kill_temporal()
    async with stand.api() as api:
        began = time.monotonic()
        late = await ask(stand, "temporal.late@example.com", 3)
        assert time.monotonic() - began < 8
        assert (late.status_code, late.json()["status"]) == (202, "queued")
        naps.append(Nap("temporal.late@example.com", late.json()["id"]))
        shown = (await api.get(f"/api/v1/runs/{naps[0].run_id}")).json()
        assert (shown["status"], shown["stale"]) == ("waiting", True)

        async def overdue() -> bool:
            return time.time() > due

        await until(overdue, "the short timers are due")
        up = time.time()
        await stand.restart_temporal()

        await check_awake(stand, naps, _RECOVERED)
        check_within([await nap.fired_at(stand) or 0.0 for nap in naps[:3]], up, time.time())
    check_mails([mail for nap in naps for mail in nap.mails], stand.smtp.deliveries, [])
