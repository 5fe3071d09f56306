"""Workers killed in the middle of sends: what the server got, with the ledger and without.

The figures of naive sending, of `at_least_once` and of `at_most_once` beside each other.
"""

import asyncio
import random
import stat
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from db.mail_messages import MailMessage, MailState
from db.run_table import Run
from schemas.run import RunStatus
from tests.faults.evidence import Kill, check_hits, figures
from tests.faults.stand import Stand, until
from tests.servers.smtp_server import Delivery

_ROOT = str(Path(__file__).resolve().parents[2])
_RANDOM = (0.3, 3.0)  # seconds until a kill at whatever moment
_HOLD = 0.8  # seconds for which a slow answer is held back
_SOURCE = """
name: {name}
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
steps:
  - id: mail
    type: email
    delivery: {delivery}
    timeout: 5s
    retry: {{attempts: 100, initial: 200ms, factor: 1}}
    with: {{to: "{name}.{{{{ input.n }}}}@example.com", subject: Hello, text: Hi}}
output: {{delivery: "{{{{ steps.mail.output.delivery }}}}"}}
"""
# A worker that forgets each claim: what somebody writes who trusts in retries alone.
_NAIVE = """#!{python}
import sys
sys.path.insert(0, {root!r})
import sqlalchemy as sa
from activities import email
from cli import app
from db.mail_messages import MailMessage
remembering = email.claim
async def claim(database, context, *rest):
    async with database.session() as session:
        mine = sa.delete(MailMessage).where(MailMessage.step_key == context.step.key)
        await session.exec(mine)
    return await remembering(database, context, *rest)
email.claim = claim
app()
"""


@dataclass
class Post:
    """Runs of one definition, each with one mail, and what came of them."""

    stand: Stand
    name: str
    delivery: str
    ids: list[str] = field(default_factory=list)

    async def publish(self) -> None:
        source = _SOURCE.format(name=self.name, delivery=self.delivery)
        async with self.stand.api() as api:
            answer = await api.post(
                "/api/v1/definitions?publish=true",
                content=source,
                headers={"content-type": "application/yaml"},
            )
            assert answer.status_code == 201, answer.text

    async def start(self, count: int) -> None:
        async with self.stand.api() as api:
            for _ in range(count):
                body = {"input": {"n": len(self.ids)}}
                answer = await api.post(f"/api/v1/definitions/{self.name}/runs", json=body)
                assert answer.status_code in (201, 202), answer.text
                self.ids.append(answer.json()["id"])

    async def statuses(self) -> Counter[str]:
        async with self.stand.database.session() as session:
            statement = select(Run.status).where(col(Run.id).in_(self.ids))
            return Counter((await session.exec(statement)).all())

    async def open_runs(self) -> int:
        found = await self.statuses()
        return sum(count for status, count in found.items() if not RunStatus(status).terminal)

    async def settled(self, *wanted: RunStatus, deadline: float) -> None:
        async def all_are() -> bool:
            found = await self.statuses()
            return sum(found[status] for status in wanted) == len(self.ids)

        await until(all_are, f"all runs of {self.name} are {' or '.join(wanted)}", deadline)

    async def letters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        async with self.stand.api() as api:
            while True:
                query = {"definition": self.name, "state": "open", "kind": "send", "limit": 100}
                page = await api.get(
                    "/api/v1/dead-letters", params=query | ({"cursor": cursor} if cursor else {})
                )
                found += page.json()["items"]
                cursor = page.json()["next_cursor"]
                if cursor is None:
                    return found

    def sends(self) -> Counter[str]:
        """How often each recipient's mail came, and under how many Message-IDs: one."""
        mine = [one for one in self.stand.smtp.deliveries if one.to.startswith(f"{self.name}.")]
        identities = {(one.to, one.message_id) for one in mine}
        assert len(identities) == len({one.to for one in mine}), "several Message-IDs for a mail"
        return Counter(one.message_id for one in mine)

    def repeats(self) -> int:
        sends = self.sends()
        return sends.total() - len(sends)


@dataclass
class Fire:
    """Kills the worker while the runs of `posts` send; each in turn has one slow answer at a time.

    So a kill cuts off few sends at once, as among the sends of a day. Half of the kills are aimed
    at a send, the others come at any moment.
    """

    stand: Stand
    posts: list[Post]
    moments: random.Random
    hits: list[Kill] = field(default_factory=list)

    @property
    def turn(self) -> str:
        return f"{self.posts[len(self.hits) % len(self.posts)].name}."

    async def hold(self, delivery: Delivery) -> None:
        """Hold back the answer to one mail that has not come before."""
        smtp = self.stand.smtp
        held = [one for one in smtp.open if one is not delivery and one.to.startswith(self.turn)]
        known = [one.message_id for one in smtp.deliveries].count(delivery.message_id)
        if delivery.to.startswith(self.turn) and not held and known == 1:
            await asyncio.sleep(_HOLD)

    async def sending(self) -> bool:
        return any(one.to.startswith(self.turn) for one in self.stand.smtp.open)

    async def burn(self, count: int, kills: int) -> None:
        """Start so many runs of each, and kill the worker so often."""
        self.stand.smtp.hold = self.hold
        for post in self.posts:
            await post.publish()
        # Else tasks wait ten seconds for a worker that had the run in its cache.
        settings = {"SOJOURN_STICKY_TIMEOUT": "1"}
        await self.stand.start_worker(**settings)
        for number in range(kills):
            more = count * (number + 1) // kills
            # Beside the sends: on a busy machine all would be over before the last was started.
            starts = asyncio.gather(*(post.start(more - len(post.ids)) for post in self.posts))
            if number % 4 < 2:
                await until(self.sending, f"a mail of {self.turn} is being sent")
                await asyncio.sleep(self.moments.uniform(0, _HOLD / 2))
            else:
                await asyncio.sleep(self.moments.uniform(*_RANDOM))
            at = time.time()
            self.stand.kill_worker()
            cut = tuple(one.message_id for one in self.stand.smtp.cut())
            await starts
            open_runs = sum([await post.open_runs() for post in self.posts])
            self.hits.append(Kill(at, open_runs, cut))
            await self.stand.start_worker(**settings)


def check_once(post: Post) -> None:
    """No mail came twice."""
    twice = {name: count for name, count in post.sends().items() if count > 1}
    assert not twice, f"{len(twice)} mails came more than once"


async def test_no_mail_comes_twice_that_may_come_once(stand: Stand, seed: int, long: bool) -> None:
    count, kills, deadline = (300, 30, 300.0) if long else (8, 2, 60.0)
    once = Post(stand, "mail-once", "at_most_once")
    least = Post(stand, "mail-least", "at_least_once")
    fire = Fire(stand, [once, least], random.Random(seed))
    await fire.burn(count, kills)
    await least.settled(RunStatus.COMPLETED, deadline=deadline)
    await once.settled(RunStatus.COMPLETED, RunStatus.PAUSED, deadline=deadline)
    check_hits(fire.hits)

    # Once each, under one Message-ID; repeats are the kills'.
    check_once(once)
    assert len(least.sends()) == count
    assert least.repeats() <= 1.5 * kills
    parked = (await once.statuses())[RunStatus.PAUSED]
    letters = await once.letters()
    assert sorted(letter["run_id"] for letter in letters) == sorted(await held(stand, once))
    assert len(letters) == parked > 0, "no kill left a mail in doubt"
    arrived = len(once.sends())
    assert count - parked <= arrived, "a run completed without its mail"

    # Nothing is lost: a person decides, and every run comes to its end.
    came = {one.message_id for one in stand.smtp.deliveries}
    resent = 0
    async with stand.api() as api:
        for letter in letters:
            known = await message_id_of(stand, letter["subject_id"]) in came
            resent += not known
            what = "mark-sent" if known else "resend"
            answer = await api.post(f"/api/v1/dead-letters/{letter['id']}/{what}")
            assert answer.status_code == 200, answer.text
    await once.settled(RunStatus.COMPLETED, deadline=deadline)
    check_once(once)
    assert len(once.sends()) == count
    figures(
        "T1 mails under worker kills",
        runs=2 * count,
        kills=kills,
        inside_a_send=sum(bool(kill.cut) for kill in fire.hits),
        at_most_once_repeats=once.repeats(),
        at_most_once_parked=parked,
        parked_that_had_arrived=parked - resent,
        at_least_once_repeats=least.repeats(),
        at_least_once_repeats_per_kill=round(least.repeats() / kills, 2),
        seed=seed,
    )


async def held(stand: Stand, post: Post) -> list[str]:
    """The runs whose mail is in doubt."""
    async with stand.database.session() as session:
        statement = select(MailMessage.run_id).where(
            col(MailMessage.run_id).in_(post.ids), MailMessage.state == MailState.UNKNOWN
        )
        return list((await session.exec(statement)).all())


async def message_id_of(stand: Stand, mail_id: str) -> str:
    async with stand.database.session() as session:
        return (await session.get_one(MailMessage, mail_id)).message_id


async def test_without_the_ledger_mails_come_twice(
    stand: Stand, seed: int, long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same definition and kills, and a worker that forgets what it claimed."""
    program = tmp_path / "naive"
    program.write_text(_NAIVE.format(python=sys.executable, root=_ROOT))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("tests.faults.stand._PROGRAM", str(program))
    count, kills, deadline = (150, 15, 300.0) if long else (4, 1, 60.0)
    naive = Post(stand, "mail-naive", "at_most_once")
    fire = Fire(stand, [naive], random.Random(seed))
    await fire.burn(count, kills)
    await naive.settled(RunStatus.COMPLETED, deadline=deadline)
    check_hits(fire.hits)
    with pytest.raises(AssertionError, match="came more than once"):
        check_once(naive)
    figures(
        "T1 mails without a ledger (control)",
        runs=count,
        kills=kills,
        repeats=naive.repeats(),
        seed=seed,
    )
