"""No start is lost and none is made twice: the API dies, Temporal is away, a worker is killed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, get_args

from httpx2 import HTTPError, Response
from sqlmodel import col, select

from api.failpoints import Point
from db import runs
from db.run_steps import RunStep
from schemas.run import RunStatus
from tests.faults.evidence import figures
from tests.faults.stand import Stand, until
from tests.kit.spans import most_at_once

_INPUT = "input: {type: object, properties: {n: {type: integer}}}"
_STEPS = "steps: [{id: nap, type: delay, for: 1d}]"  # a third of a second here
_DISPATCHED = [point for point in get_args(Point) if point.startswith("dispatcher")]
_INLINE = [point for point in get_args(Point) if point not in _DISPATCHED]
# Waits for its time, longer than its client for the answer, so that the outbox starts it.
_LATER = "limits: {debounce: {key: input.n, for: 1500ms}}"


async def publish(stand: Stand, name: str, limits: str = "") -> None:
    """Publish a definition that sleeps for a moment."""
    source = "\n".join([f"name: {name}", _INPUT, limits, _STEPS])
    async with stand.api() as api:
        answer = await api.post(
            "/api/v1/definitions?publish=true",
            content=source,
            headers={"content-type": "application/yaml"},
        )
    assert answer.status_code == 201, answer.text


@asynccontextmanager
async def mortal_api(stand: Stand, armed: Path) -> AsyncIterator[list[int]]:
    """Run the API with failpoints, started again whenever it has died; gives those that did."""
    stand.kill_api()
    deaths: list[int] = []

    async def supervise() -> None:
        while True:
            child = stand.api_process
            if child is None or not child.running:
                if child is not None:
                    deaths.append(child.pid)
                stand.spawn_api(SOJOURN_FAILPOINTS=str(armed))
            await asyncio.sleep(0.02)

    supervisor = asyncio.create_task(supervise())
    try:
        yield deaths
    finally:
        supervisor.cancel()
        with suppress(asyncio.CancelledError):
            await supervisor
        stand.kill_api()
        await stand.start_api()


async def insist(stand: Stand, name: str, n: int, key: str | None) -> str:
    """Start a run as a client does that tries again until it is told that it is there."""
    headers = {} if key is None else {"Idempotency-Key": key}
    end = time.monotonic() + 180
    async with stand.api() as api:
        while True:
            answer: Response | None = None
            with suppress(HTTPError):
                answer = await api.post(
                    f"/api/v1/definitions/{name}/runs", json={"input": {"n": n}}, headers=headers
                )
            if answer is not None and answer.status_code < 300:
                return answer.json()["id"]
            assert answer is None or answer.status_code == 503, answer.text
            assert time.monotonic() < end, f"{key} was not accepted"
            await asyncio.sleep(0.05)


async def rows(stand: Stand, name: str) -> list[runs.Run]:
    """Read the rows of a definition's runs."""
    async with stand.database.session() as session:
        statement = select(runs.Run).where(runs.Run.definition == name)
        return list((await session.exec(statement)).all())


async def known_to_temporal(stand: Stand, name: str) -> list[str]:
    """List the workflow ids of a definition; each execution once."""
    found = stand.client.list_workflows(f"WorkflowType = '{name}'")
    return [each.id async for each in found]


async def all_completed(stand: Stand, name: str, count: int, deadline: float) -> list[runs.Run]:
    """Wait until there are so many runs, completed, in the rows and in Temporal, and no more."""

    async def completed() -> bool:
        found = await rows(stand, name)
        return len(found) >= count and all(run.status is RunStatus.COMPLETED for run in found)

    await until(completed, f"{count} runs of {name} have completed", deadline)

    async def listed() -> bool:
        return len(await known_to_temporal(stand, name)) >= count

    await until(listed, f"Temporal lists {count} runs of {name}")
    found = await rows(stand, name)
    assert len(found) == count
    assert sorted(await known_to_temporal(stand, name)) == sorted(run.workflow_id for run in found)
    return found


async def test_an_api_that_dies_at_any_point_starts_each_key_once(
    stand: Stand, tmp_path: Path, long: bool
) -> None:
    rounds, keys = (50, 1) if long else (1, 2)
    await stand.start_worker()
    names = {True: "killed-later", False: "killed-at-once"}
    await publish(stand, names[True], _LATER)
    await publish(stand, names[False])
    ids: dict[str, str] = {}
    async with mortal_api(stand, tmp_path) as deaths:
        for number in range(rounds):
            for point in [*_DISPATCHED, *_INLINE]:
                await _die_at(stand, tmp_path / point, names, point, number, keys, ids)
        assert len(deaths) == rounds * len(get_args(Point))
        for later, points in ((True, _DISPATCHED), (False, _INLINE)):
            count = rounds * keys * len(points)
            found = await all_completed(stand, names[later], count, 60)
            assert {run.id for run in found} <= set(ids.values())
        # Each key still gives its own run.
        for key, run_id in list(ids.items())[-10:]:
            point, number, n = key.split(":")
            name = names[point in _DISPATCHED]
            assert await insist(stand, name, _number(point, number, n), key) == run_id

        # The control: who tries again without a key starts another run.
        await asyncio.to_thread((tmp_path / "after_commit").touch)
        await publish(stand, "killed-no-key")
        await insist(stand, "killed-no-key", 1, None)
        await all_completed(stand, "killed-no-key", 2, 30)
    figures(
        "T4 the API dies",
        keys=len(ids),
        deaths=rounds * len(get_args(Point)),
        runs=len(set(ids.values())),
        runs_of_a_start_without_key=2,
    )


async def _die_at(
    stand: Stand,
    mark: Path,
    names: dict[bool, str],
    point: str,
    number: int,
    keys: int,
    ids: dict[str, str],
) -> None:
    async def answers() -> bool:
        async with stand.api() as api:
            with suppress(HTTPError):
                return (await api.get("/healthz")).status_code == 200
        return False

    await until(answers, "the API answers")
    await asyncio.to_thread(mark.touch)
    wanted = {f"{point}:{number}:{n}": _number(point, number, n) for n in range(keys)}
    name = names[point in _DISPATCHED]
    found = await asyncio.gather(*(insist(stand, name, n, key) for key, n in wanted.items()))
    ids.update(zip(wanted, found, strict=True))

    async def died() -> bool:
        return not await asyncio.to_thread(mark.exists)

    await until(died, f"the API died at {point}", 30)


def _number(point: str, number: int | str, n: int | str) -> int:
    """Give each key an input of its own, also after a split of the key's text."""
    return get_args(Point).index(point) * 1_000_000 + int(number) * 1000 + int(n)


async def test_starts_while_temporal_is_away_and_a_worker_is_killed(
    stand: Stand, long: bool
) -> None:
    away = 60.0 if long else 5.0
    name = "started-in-the-dark"
    await stand.start_worker()
    await publish(stand, name, "limits: {concurrent_runs: 4}")
    answers: list[tuple[int, float]] = []
    stop = asyncio.Event()

    async def keep_starting() -> None:
        async with stand.api() as api:
            n = 0
            while not stop.is_set():
                began = time.monotonic()
                answer = await api.post(
                    f"/api/v1/definitions/{name}/runs", json={"input": {"n": n}}
                )
                answers.append((answer.status_code, time.monotonic() - began))
                n += 1
                await asyncio.sleep(max(0.0, 0.5 - (time.monotonic() - began)))

    starting = asyncio.create_task(keep_starting())
    await until(_so_many(answers, 3), "some starts before the crash")
    stand.kill_temporal()
    stand.kill_worker()
    await until(_so_many(answers, 3 + int(2 * away) - 4), "starts while it is away", away + 10)
    await stand.restart_temporal()
    back = time.monotonic()
    await stand.start_worker()
    stop.set()
    await starting
    assert {status for status, _ in answers} <= {201, 202}
    assert sum(status == 202 for status, _ in answers) >= away
    # 1.5 s and the health are what the API itself waits for; the rest is a busy machine.
    assert max(taken for _, taken in answers) < 5
    found = await all_completed(stand, name, len(answers), 60 + away)
    admitted = [run.temporal_run_id for run in found]
    assert None not in admitted
    assert time.monotonic() - back < 60 + away
    naps = await _naps(stand, [run.id for run in found])
    assert len(naps) == len(answers)
    assert most_at_once([(nap.started_at, nap.finished_at) for nap in naps]) <= 4
    async with stand.api() as api:
        queue = (await api.get(f"/api/v1/definitions/{name}/queue")).json()
    assert queue == {"waiting": 0, "active": 0, "oldest": None}


def _so_many(answers: list[Any], count: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return len(answers) >= count

    return enough


async def _naps(stand: Stand, run_ids: list[str]) -> list[RunStep]:
    async with stand.database.session() as session:
        statement = select(RunStep).where(col(RunStep.run_id).in_(run_ids), RunStep.id == "nap")
        return list((await session.exec(statement)).all())
