"""Workers killed with SIGKILL in the middle of lead journeys, and started again."""

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from tests.faults.evidence import Kill, check_hits, check_mails
from tests.faults.journeys import KINDS, REPLIED, Submitted, check_outcome, submit
from tests.faults.stand import DEADLINE, Stand, until
from tests.servers.smtp_server import Delivery
from workflows.gateway import Gateway

_log = logging.getLogger("sojourn.faults")
_HOLD = 0.8  # seconds for which a slow answer is held back
_LONGEST_WAIT = 1.5  # seconds until a kill at a wholly random moment


@dataclass
class Chaos:
    """Submits leads and kills workers in turn; everything random comes from `moments`."""

    stand: Stand
    moments: random.Random
    leads: list[Submitted] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)

    async def hold(self, delivery: Delivery) -> None:
        """Hold back one answer at a time, and none of a mail that has come before.

        So a kill can cut off one slow send, and the repeats that it may cause are known.
        """
        others = [one for one in self.stand.smtp.open if one is not delivery]
        known = [one.message_id for one in self.stand.smtp.deliveries].count(delivery.message_id)
        if not others and known == 1:
            await asyncio.sleep(_HOLD)

    async def submit(self, count: int) -> None:
        """Submit the next leads."""
        for _ in range(count):
            number = len(self.leads)
            kind = KINDS[number % len(KINDS)]
            self.leads.append(await submit(self.stand, kind, f"ada.{number}@example.com"))

    async def moment(self) -> None:
        """Wait for the moment of the next kill: in every second round one inside a send."""
        if len(self.kills) % 2 == 0:

            async def sending() -> bool:
                return bool(self.stand.smtp.open)

            await until(sending, "a mail is being sent")
            await asyncio.sleep(self.moments.uniform(0, _HOLD / 2))
        else:
            await asyncio.sleep(self.moments.uniform(0, _LONGEST_WAIT))

    async def kill(self) -> None:
        """Kill the worker now, and note what that has hit."""
        at = time.time()
        self.stand.kill_worker()
        cut = tuple(one.message_id for one in self.stand.smtp.cut())
        self.kills.append(Kill(at, await self._open(), cut))

    async def _open(self) -> int:
        found = await asyncio.gather(*(lead.handle(self.stand).describe() for lead in self.leads))
        return sum(one.status is WorkflowExecutionStatus.RUNNING for one in found)

    async def ended(self, deadline: float) -> None:
        """Wait for the end of all runs; a run that failed raises."""
        async with asyncio.timeout(deadline):
            await asyncio.gather(*(lead.handle(self.stand).result() for lead in self.leads))


async def test_journeys_survive_kills_at_random_moments(
    stand: Stand, seed: int, long: bool
) -> None:
    runs, kills, deadline = (100, 30, 180.0) if long else (10, 4, 60.0)
    chaos = Chaos(stand, random.Random(seed))
    stand.smtp.hold = chaos.hold
    await stand.start_worker()
    for number in range(kills):
        await chaos.submit(runs * (number + 1) // kills - len(chaos.leads))
        await chaos.moment()
        await chaos.kill()
        await stand.start_worker()
    await chaos.ended(deadline)

    lost = [await check_outcome(stand, lead) for lead in chaos.leads]
    check_hits(chaos.kills)
    assert sum(lost) > 0, "no work was lost with a worker"
    mails = [mail for lead in chaos.leads for mail in lead.mails]
    counts = check_mails(mails, stand.smtp.deliveries, chaos.kills)
    _log.warning(
        "%d runs, all right; %d kills, open runs at each %s, %d inside a send, %d tasks lost and "
        "done again; %d mails, none missing, repeats %d, most often one %d times",
        len(chaos.leads),
        len(chaos.kills),
        [kill.open_runs for kill in chaos.kills],
        sum(bool(kill.cut) for kill in chaos.kills),
        sum(lost),
        len(mails),
        counts.total() - len(mails),
        max(counts.values()),
    )


async def test_a_mail_cut_off_before_its_answer_comes_once_more(stand: Stand) -> None:
    never = asyncio.Event()

    async def hold(delivery: Delivery) -> None:
        if stand.smtp.deliveries == [delivery]:
            await never.wait()

    stand.smtp.hold = hold
    # Else tasks wait ten seconds for a worker that had the run in its cache.
    await stand.start_worker(SOJOURN_STICKY_TIMEOUT="1")
    lead = await submit(stand, REPLIED, "ada.cut@example.com")

    async def taken() -> bool:
        return bool(stand.smtp.open)

    await until(taken, "the mail is taken")
    stand.kill_worker()
    [first] = stand.smtp.cut()
    never.set()
    await stand.start_worker(SOJOURN_STICKY_TIMEOUT="1")
    async with asyncio.timeout(DEADLINE):
        await lead.handle(stand).result()
    assert await check_outcome(stand, lead) >= 1
    assert [one.message_id for one in stand.smtp.deliveries] == [first.message_id] * 2
    assert [one.answered_at is None for one in stand.smtp.deliveries] == [True, False]


async def test_a_reply_counts_that_comes_while_no_worker_runs(stand: Stand) -> None:
    lead = await submit(stand, REPLIED, "ada.early@example.com")
    await stand.start_worker()
    async with asyncio.timeout(DEADLINE):
        await lead.handle(stand).result()
    assert await check_outcome(stand, lead) == 0


async def test_a_killed_worker_soon_counts_no_more(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(stand.client)
    await stand.start_worker()
    assert (await gateway.health()).workers
    stand.kill_worker()
    # Only now: a worker that lives may poll for a minute, and its poll is as old as that.
    monkeypatch.setattr("workflows.backlog._POLL_FRESH", timedelta(seconds=3))

    async def noticed() -> bool:
        return not (await gateway.health()).workers

    await until(noticed, "the dead worker counts no more", 20)
