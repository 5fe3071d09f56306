"""The email action against SMTP servers, polite and rude ones; no database needed."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import pytest

from activities.context import ActionContext
from activities.email import EmailParams, EmailResult, email
from activities.errors import ActionError
from activities.services import MailConfig, Services
from tests.servers.smtp_server import RudeSmtp

if TYPE_CHECKING:
    from dev.mailbox import Mailbox


@pytest.fixture
async def rude() -> AsyncIterator[RudeSmtp]:
    async with RudeSmtp() as server:
        yield server


def within(context: ActionContext, port: int, **mail: Any) -> ActionContext:
    config = MailConfig(
        **({"host": "127.0.0.1", "port": port, "from_address": "S <s@example.com>"} | mail)
    )
    return replace(context, services=Services(mail=config))


async def send(context: ActionContext, **given: Any) -> EmailResult:
    mail = {"to": "ada@example.com", "subject": "Hello", "text": "Hi"}
    return await email(EmailParams.model_validate(mail | given), context)


async def test_a_mail_arrives_as_it_was_written(context: ActionContext, smtp: "Mailbox") -> None:
    result = await send(
        within(context, smtp.port),
        to=["Ada <ada@example.com>", "bob@example.com"],
        cc="cleo@example.com",
        bcc=["secret@example.com", "ada@example.com"],
        html="<style>p{color:red}</style><p>Hi ✓</p>",
    )
    (mail,) = smtp.messages
    assert mail.sender == "s@example.com"
    assert mail.recipients == [
        "ada@example.com", "bob@example.com", "cleo@example.com", "secret@example.com"
    ]  # fmt: skip
    assert "secret" not in mail.message.as_string()
    assert mail.text.strip() == "Hi"
    assert 'style="color: red;"' in mail.html
    assert mail.message_id == result.message_id
    assert result.accepted == mail.recipients
    assert result.to == ["ada@example.com", "bob@example.com"]
    assert result.response is not None
    assert (result.already_sent, result.recorded) == (False, None)


async def test_every_attempt_has_the_same_message_id(
    context: ActionContext, smtp: "Mailbox"
) -> None:
    first = await send(within(context, smtp.port))
    second = await send(replace(within(context, smtp.port), attempt=2))
    assert first.message_id == second.message_id
    assert {mail.message_id for mail in smtp.messages} == {first.message_id}


@pytest.mark.parametrize(
    ("replies", "code", "retryable"),
    [
        ({"ada@example.com": "550 no such user"}, "EMAIL_REJECTED", False),
        ({"ada@example.com": "450 greylisted"}, "EMAIL_REJECTED", True),
        ({"MAIL": "553 bad sender"}, "EMAIL_REJECTED", False),
        ({"MAIL": "451 later"}, "EMAIL_REJECTED", True),
        ({"DATA": "554 no"}, "EMAIL_REJECTED", False),
        ({"body": "554 spam"}, "EMAIL_REJECTED", False),
        ({"body": "452 full"}, "EMAIL_REJECTED", True),
        ({"connect": "554 go away"}, "EMAIL_REJECTED", False),
        ({"connect": "421 busy"}, "EMAIL_REJECTED", True),
        ({"connect": "drop"}, "STEP_FAILED", True),
        ({"MAIL": "drop"}, "STEP_FAILED", True),
        ({"RCPT": "drop"}, "STEP_FAILED", True),
        ({"DATA": "drop"}, "STEP_FAILED", True),
    ],
)
async def test_refusals(
    context: ActionContext, rude: RudeSmtp, replies: dict[str, str], code: str, retryable: bool
) -> None:
    rude.replies = replies
    with pytest.raises(ActionError) as caught:
        await send(within(context, rude.port))
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert not rude.accepted


async def test_one_refused_recipient_does_not_stop_the_others(
    context: ActionContext, rude: RudeSmtp
) -> None:
    rude.replies = {"gone@example.com": "550 unknown"}
    result = await send(within(context, rude.port), to=["gone@example.com", "ada@example.com"])
    assert result.accepted == ["ada@example.com"]
    assert result.refused == {"gone@example.com": "550 unknown"}


async def test_recipients_that_may_be_accepted_later_are_tried_again(
    context: ActionContext, rude: RudeSmtp
) -> None:
    rude.replies = {"gone@example.com": "550 unknown", "ada@example.com": "450 later"}
    with pytest.raises(ActionError) as caught:
        await send(within(context, rude.port), to=["gone@example.com", "ada@example.com"])
    assert caught.value.retryable
    assert len(caught.value.details["refused"]) == 2


@pytest.mark.parametrize("end", ["drop", "500 what"])
async def test_a_server_that_fails_at_goodbye_has_the_mail(
    context: ActionContext, rude: RudeSmtp, end: str
) -> None:
    rude.replies = {"QUIT": end}
    result = await send(within(context, rude.port))
    assert result.accepted == ["ada@example.com"]
    assert len(rude.accepted) == 1


@pytest.mark.parametrize("where", ["connect", "MAIL", "body"])
async def test_a_silent_server_ends_at_the_deadline(
    context: ActionContext, rude: RudeSmtp, where: str
) -> None:
    rude.replies = {where: "hang"}
    begun = time.monotonic()
    short = replace(within(context, rude.port), timeout=timedelta(seconds=0.6))
    with pytest.raises(ActionError) as caught:
        await send(short)
    assert time.monotonic() - begun < 10
    assert (caught.value.code, caught.value.retryable) == ("STEP_TIMEOUT", True)


async def test_nobody_listens(context: ActionContext) -> None:
    async with RudeSmtp() as gone:
        port = gone.port
    with pytest.raises(ActionError) as caught:
        await send(within(context, port))
    assert caught.value.retryable
    assert f"127.0.0.1:{port}" in caught.value.message


@pytest.mark.parametrize(
    ("replies", "code", "retryable"),
    [
        ({"AUTH": "535 wrong"}, "UNAUTHORIZED", False),
        ({"AUTH": "454 later"}, "EMAIL_REJECTED", True),
    ],
)
async def test_credentials(
    context: ActionContext, rude: RudeSmtp, replies: dict[str, str], code: str, retryable: bool
) -> None:
    rude.offers, rude.replies = ("AUTH PLAIN",), replies
    with pytest.raises(ActionError) as caught:
        await send(within(context, rude.port, username="u", password="hidden-word", tls="none"))
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert "hidden-word" not in caught.value.message


async def test_required_encryption_that_the_server_lacks(
    context: ActionContext, rude: RudeSmtp
) -> None:
    with pytest.raises(ActionError) as caught:
        await send(within(context, rude.port, tls="starttls"))
    assert (caught.value.code, caught.value.retryable) == ("EMAIL_REJECTED", False)
    assert not rude.accepted


async def test_senders(context: ActionContext, rude: RudeSmtp) -> None:
    await send(within(context, rude.port), **{"from": "Other <other@example.com>"})
    parsed: Any = message_from_bytes(rude.accepted[0], policy=policy.default)
    assert parsed["from"] == "Other <other@example.com>"
    with pytest.raises(ActionError) as caught:
        await send(within(context, rude.port), **{"from": "ceo@elsewhere.com"})
    assert (caught.value.code, caught.value.retryable) == ("FORBIDDEN", False)
    with pytest.raises(ActionError) as caught:
        await send(within(context, rude.port, from_address=None))
    assert caught.value.hint == "set SOJOURN_MAIL_FROM, or the connection's from_address"


async def test_lines_that_begin_with_a_dot_survive(context: ActionContext, smtp: "Mailbox") -> None:
    await send(within(context, smtp.port), text=".hidden\n..two\n.\nend")
    assert smtp.messages[0].text.split() == [".hidden", "..two", ".", "end"]


async def test_templates_need_a_database(context: ActionContext, rude: RudeSmtp) -> None:
    with pytest.raises(ActionError) as caught:
        await email(
            EmailParams.model_validate({"to": "a@example.com", "template": "welcome"}),
            within(context, rude.port),
        )
    assert (caught.value.code, caught.value.retryable) == ("INVALID_INPUT", False)
