"""Slots of a definition while workers are killed: never one too many, none lost, in order."""

import asyncio
import random
import time

import pytest
from sqlmodel import col, select

from db import runs
from db.run_steps import RunStep
from schemas.run import RunStatus
from tests.faults.evidence import Kill, check_hits, check_mails, figures
from tests.faults.stand import Stand, until
from tests.kit.spans import most_at_once
from tests.servers.smtp_server import Delivery

SLOTS = 5
_HOLD = 0.4  # seconds for which each mail server's answer is held back
_SOURCE = """
name: {name}
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
limits: {limits}
defaults: {{timeout: 5s, retry: {{attempts: 100, initial: 200ms, factor: 1}}}}
steps:
  - id: mail
    type: email
    with: {{to: "{name}.{{{{ input.n }}}}@example.com", subject: Your turn, text: Now}}
"""


async def start_all(stand: Stand, name: str, limits: str, count: int) -> list[str]:
    """Publish a definition that sends a mail, and start it so often, one after the other."""
    ids: list[str] = []
    async with stand.api() as api:
        answer = await api.post(
            "/api/v1/definitions?publish=true",
            content=_SOURCE.format(name=name, limits=limits),
            headers={"content-type": "application/yaml"},
        )
        assert answer.status_code == 201, answer.text
        for n in range(count):
            body = {"input": {"n": n}}
            answer = await api.post(f"/api/v1/definitions/{name}/runs", json=body)
            assert answer.status_code in (201, 202), answer.text
            ids.append(answer.json()["id"])
    return ids


async def rows(stand: Stand, ids: list[str]) -> list[runs.Run]:
    """Read the rows of these runs, in the order of their starts."""
    async with stand.database.session() as session:
        statement = select(runs.Run).where(col(runs.Run.id).in_(ids))
        found = {run.id: run for run in (await session.exec(statement)).all()}
    return [found[run_id] for run_id in ids]


async def active(stand: Stand, ids: list[str]) -> int:
    """Count the runs that hold a slot."""
    found = await rows(stand, ids)
    return sum(run.admitted_at is not None and not run.status.terminal for run in found)


async def mails_at_once(stand: Stand, ids: list[str]) -> int:
    """Count the mail steps that ran at the worst moment, a killed attempt's included."""
    async with stand.database.session() as session:
        statement = select(RunStep).where(col(RunStep.run_id).in_(ids), RunStep.id == "mail")
        steps = list((await session.exec(statement)).all())
    assert len(steps) == len(ids)
    return most_at_once([(step.started_at, step.finished_at) for step in steps])


async def hold(_: Delivery) -> None:
    """Let every sender wait, so that a kill finds all slots inside a send."""
    await asyncio.sleep(_HOLD)


async def until_completed(stand: Stand, ids: list[str], deadline: float) -> list[runs.Run]:
    """Wait for the end of all runs, watching that the slots are never exceeded meanwhile."""

    async def ended() -> bool:
        assert await active(stand, ids) <= SLOTS
        return all(run.status is RunStatus.COMPLETED for run in await rows(stand, ids))

    await until(ended, "all runs have completed", deadline)
    return await rows(stand, ids)


async def test_killed_workers_leak_no_slot(stand: Stand, seed: int, long: bool) -> None:
    count, kills, deadline = (200, 5, 240.0) if long else (30, 1, 60.0)
    # Else tasks wait ten seconds for a worker that had the run in its cache.
    settings = {"SOJOURN_STICKY_TIMEOUT": "1"}
    moments = random.Random(seed)
    stand.smtp.hold = hold
    began = time.monotonic()
    ids = await start_all(stand, "five-at-once", f"{{concurrent_runs: {SLOTS}}}", count)
    waiting = (await rows(stand, ids))[SLOTS:]
    assert {run.status for run in waiting} == {RunStatus.QUEUED}
    await stand.start_worker(**settings)
    hits: list[Kill] = []
    for number in range(kills):
        wanted = count * (number + 1) // (kills + 1)

        async def in_the_middle(wanted: int = wanted) -> bool:
            done = sum(run.status.terminal for run in await rows(stand, ids))
            # One that has just begun, so that it is still under way when the kill comes.
            begun = time.time() - _HOLD / 4
            return done >= wanted and any(one.taken_at > begun for one in stand.smtp.open)

        await until(in_the_middle, f"{wanted} runs are done and one sends", deadline)
        await asyncio.sleep(moments.uniform(0, _HOLD / 4))
        at = time.time()
        stand.kill_worker()
        cut = tuple(one.message_id for one in stand.smtp.cut())
        # The dead worker's runs keep their slots, and nobody else gets one in their place.
        held = await active(stand, ids)
        hits.append(Kill(at, held, cut))
        assert 0 < held <= SLOTS
        await stand.start_worker(**settings)
    found = await until_completed(stand, ids, deadline)
    check_hits(hits)
    assert most_at_once([(run.admitted_at, run.finished_at) for run in found]) == SLOTS
    assert await mails_at_once(stand, ids) == SLOTS
    order = sorted(found, key=lambda run: (run.admitted_at, run.created_at))
    assert [run.id for run in order] == ids
    mails = [(f"five-at-once.{n}@example.com", "Your turn") for n in range(count)]
    counts = check_mails(mails, stand.smtp.deliveries, hits, most_per_kill=SLOTS)
    async with stand.api() as api:
        queue = (await api.get("/api/v1/definitions/five-at-once/queue")).json()
    assert queue == {"waiting": 0, "active": 0, "oldest": None}
    figures(
        "F22 slots under kills",
        starts=count,
        slots=SLOTS,
        most_at_once=SLOTS,
        kills=len(hits),
        sends_cut=sum(len(kill.cut) for kill in hits),
        mails_repeated=counts.total() - count,
        seconds=round(time.monotonic() - began),
        seed=seed,
    )


async def test_without_a_limit_more_are_at_once(stand: Stand) -> None:
    """The control: the same runs, unlimited, break what the limited ones must keep."""
    stand.smtp.hold = hold
    ids = await start_all(stand, "all-at-once", "{starts_per_minute: 6000}", 3 * SLOTS)
    assert await active(stand, ids) > SLOTS
    with pytest.raises(AssertionError):
        await until_completed(stand, ids, 60)
    await stand.start_worker()

    async def ended() -> bool:
        return all(run.status is RunStatus.COMPLETED for run in await rows(stand, ids))

    await until(ended, "all runs have completed")
    assert await mails_at_once(stand, ids) > SLOTS
