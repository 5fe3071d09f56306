"""The checks of this folder fail where they should: on senders that forget, and on idle kills."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from dev.processes import Child
from tests.faults.evidence import Expected, Kill, check_hits, check_mails, check_within
from tests.faults.stand import until
from tests.servers.smtp_server import Delivery, SlowSmtp

# What somebody writes who has no durable workflow: a loop over the recipients, in memory.
_SENDER = """
import smtplib, sys
from email.message import EmailMessage
from email.utils import make_msgid
for number in range(4):
    mail = EmailMessage()
    mail["To"], mail["Subject"] = f"{number}@example.com", "Hello"
    mail["Message-ID"] = make_msgid()
    with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as server:
        server.send_message(mail, "a@example.com")
"""
_EXPECTED: list[Expected] = [(f"{number}@example.com", "Hello") for number in range(4)]


async def killed_in_its_second_mail(smtp: SlowSmtp, folder: Path) -> Kill:
    """Run the forgetful sender, and kill it while its second mail is open."""
    held = asyncio.Event()

    async def hold(delivery: Delivery) -> None:
        if len(smtp.deliveries) == 2:
            held.set()
            await asyncio.Event().wait()

    smtp.hold = hold
    sender = Child("sender", [sys.executable, "-c", _SENDER, str(smtp.port)], log=folder / "log")
    try:
        async with asyncio.timeout(180):
            await held.wait()
    finally:
        sender.kill()
    return Kill(time.time(), open_runs=1, cut=tuple(one.message_id for one in smtp.cut()))


async def test_a_forgetful_sender_loses_mails(tmp_path: Path) -> None:
    async with SlowSmtp() as smtp:
        kill = await killed_in_its_second_mail(smtp, tmp_path)
        check_hits([kill])
        with pytest.raises(AssertionError, match="2 mails are missing"):
            check_mails(_EXPECTED, smtp.deliveries, [kill])


async def test_a_forgetful_sender_that_begins_again_sends_other_mails(tmp_path: Path) -> None:
    async with SlowSmtp() as smtp:
        kill = await killed_in_its_second_mail(smtp, tmp_path)
        again = [sys.executable, "-c", _SENDER, str(smtp.port)]
        sender = Child("sender", again, log=tmp_path / "log")

        async def ended() -> bool:
            return not sender.running

        await until(ended, "the sender has ended", 20)
        with pytest.raises(AssertionError, match="under several Message-IDs"):
            check_mails(_EXPECTED, smtp.deliveries, [kill])


def delivered(name: str, taken_at: float, cut_at: float | None = None) -> Delivery:
    answered_at = None if cut_at is not None else taken_at + 0.1
    return Delivery(f"<{name}@x>", f"{name}@example.com", "Hello", taken_at, answered_at, cut_at)


def test_repeats_need_a_kill_that_explains_them() -> None:
    expected = [("a@example.com", "Hello")]
    once = delivered("a", 10.0)
    twice = [once, delivered("a", 20.0)]
    assert check_mails(expected, [once], []) == {"<a@x>": 1}
    for kills in ([], [Kill(9.0, 1)], [Kill(15.0, 1)]):
        with pytest.raises(AssertionError, match="kills explain 1"):
            check_mails(expected, twice, kills)
    cut = [delivered("a", 10.0, cut_at=10.5), delivered("a", 20.0)]
    assert check_mails(expected, cut, [Kill(10.5, 1, ("<a@x>",))]) == {"<a@x>": 2}
    with pytest.raises(AssertionError, match="too many"):
        check_mails([], [once], [])


def test_more_repeats_than_kills_account_for_are_refused() -> None:
    names = ["a", "b"]
    twice = [delivered(name, at) for at in (10.0, 20.0) for name in names]
    with pytest.raises(AssertionError, match="2 repeats after 1 kills"):
        check_mails([(f"{name}@example.com", "Hello") for name in names], twice, [Kill(10.05, 2)])


def test_kills_that_hit_nothing_are_refused() -> None:
    inside = Kill(1.0, 3, ("<a@x>",))
    check_hits([inside, Kill(2.0, 1)])
    for idle in ([], [Kill(1.0, 3)], [inside, Kill(2.0, 0)]):
        with pytest.raises(AssertionError):
            check_hits(idle)
    check_within([2.0], 1.0, 3.0)
    for outside in ([], [2.0, 4.0]):
        with pytest.raises(AssertionError):
            check_within(outside, 1.0, 3.0)
