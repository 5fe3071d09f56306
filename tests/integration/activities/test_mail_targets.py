"""Mail connections of workspaces lead to public servers, and to those the operator has opened."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from activities._mail_target import MailTargets
from activities._ssrf import ForbiddenTargetError
from activities.context import ActionContext
from activities.probing import Prober
from activities.services import MailHosts, Services
from tests.kit.mailing import connect, send

if TYPE_CHECKING:
    from db.engine import Database
    from dev.mailbox import Mailbox
    from tests.integration.activities.conftest import Step

INTERNAL = [
    ("127.0.0.1", 25),
    ("localhost", 587),
    ("169.254.169.254", 25),
    ("2130706433", 25),
    ("10.0.0.1", 465),
    ("::1", 25),
    ("::ffff:127.0.0.1", 25),
    ("fd00:ec2::254", 25),
]


@dataclass
class Door:
    """A port that counts who knocks."""

    port: int = 0
    knocks: list[str] = field(default_factory=list)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    found = Door()

    async def knock(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.knocks.append("knock")
        writer.close()

    server = await asyncio.start_server(knock, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


@pytest.mark.parametrize(("host", "port"), INTERNAL)
async def test_internal_servers_are_closed(host: str, port: int) -> None:
    with pytest.raises(ForbiddenTargetError):
        await MailTargets.of().connect(host, port, 5)


@pytest.mark.parametrize("host", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"])
async def test_metadata_is_closed_to_an_allow_list_of_everything(host: str) -> None:
    with pytest.raises(ForbiddenTargetError, match="metadata"):
        await MailTargets.of(("0.0.0.0/0", "::/0")).connect(host, 25, 5)


async def test_other_ports_are_closed(door: Door) -> None:
    with pytest.raises(ForbiddenTargetError, match="port") as caught:
        await MailTargets.of(("127.0.0.0/8",)).connect("127.0.0.1", door.port, 5)
    assert "SOJOURN_MAIL_ALLOW_PORTS" in str(caught.value.hint)
    assert door.knocks == []


async def test_a_name_is_resolved_once_and_refused_for_one_bad_answer(door: Door) -> None:
    answers = [["127.0.0.1"], ["127.0.0.1", "169.254.169.254"]]
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    targets = MailTargets(MailTargets.of(("127.0.0.0/8",), (door.port,)).policy, resolver)
    link = await targets.connect("mail.example", door.port, 5)
    assert link.getpeername() == ("127.0.0.1", door.port)
    link.close()
    with pytest.raises(ForbiddenTargetError):
        await targets.connect("mail.example", door.port, 5)
    assert asked == ["mail.example"] * 2


async def test_the_next_address_is_tried(door: Door) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    targets = MailTargets(MailTargets.of(("127.0.0.0/8",), (door.port,)).policy, resolver)
    link = await targets.connect("mail.example", door.port, 5)
    assert link.getpeername()[0] == "127.0.0.1"
    link.close()


@pytest.mark.parametrize("kind", ["smtp", "imap"])
async def test_a_test_of_a_connection_knocks_nowhere_inside(door: Door, kind: str) -> None:
    services = Services(mail_hosts=MailHosts(allow_ports=(door.port,)))
    closed = Prober(lambda: services.http, lambda: services.http, mail=services.mail_targets)
    config: dict[str, Any] = {
        "host": "localhost", "port": door.port, "tls": "none", "username": "me", "mailbox": "INBOX",
    }  # fmt: skip
    found = await closed.probe("a", kind, config, {"password": "secret"})
    assert not found.ok
    assert "not a public address" in found.message
    assert door.knocks == []
    # The control: opened, it is reached.
    opened = Services(mail_hosts=MailHosts(("127.0.0.0/8", "::1/128"), (door.port,)))
    prober = Prober(lambda: services.http, lambda: services.http, mail=opened.mail_targets)
    assert not (await prober.probe("a", kind, config, {"password": "secret"})).ok
    assert door.knocks


async def test_a_step_sends_over_no_internal_connection(
    database: "Database", smtp: "Mailbox", step: "Step", reached: Services
) -> None:
    port = int(smtp.url.rpartition(":")[2])
    name = await connect(database, port)
    context = step()
    shut = Services(
        database=database, mail=reached.mail, keyring=reached.keyring,
        mail_hosts=MailHosts(allow_ports=(port,)),
    )  # fmt: skip
    with pytest.raises(ForbiddenTargetError):
        await send(_over(context, shut), "Ada <ada@example.com>", connection=name)
    assert smtp.messages == []
    # The operator's own server stands on the same address, and is not asked about.
    await send(_over(step(), shut), "Ada <ada@example.com>")
    await send(step(), "Ada <ada@example.com>", connection=name)
    assert len(await smtp.wait_for(2)) == 2


def _over(context: ActionContext, services: Services) -> ActionContext:
    return replace(context, services=services)


def test_a_wrong_range_is_told() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        MailTargets.of(("10.0.0.1/8",))
