"""The embedded servers that everything else is tested on."""

import asyncpg
import pytest
from aiosmtplib import SMTPRecipientsRefused, send
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from dev.mailbox import Mailbox


async def test_postgres_answers_and_wants_the_password(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT 1 + 1") == 2
    await connection.close()
    without = postgres_url.split("//")[1].split("@")[1]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://sojourn:wrong@{without}")


async def test_temporal_answers_with_our_search_attributes(client: Client) -> None:
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

    found = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    assert {"Workspace", "DefinitionVersion", "RunStatus", "Lead"} <= set(found.custom_attributes)


async def test_time_skipping_server_answers(time_skipping: WorkflowEnvironment) -> None:
    assert await time_skipping.client.service_client.check_health()


async def test_mailbox_keeps_mails_and_can_refuse(smtp: Mailbox) -> None:
    text = "Subject: Hej\r\nMessage-ID: <1@test>\r\n\r\nbody\r\n"
    where = {"hostname": "127.0.0.1", "port": smtp.port, "start_tls": False}
    await send(text, sender="a@example.com", recipients=["b@example.com"], **where)
    [mail] = await smtp.wait_for(1, to="b@example.com", deadline=60)
    assert (mail.subject, mail.message_id, mail.text.strip()) == ("Hej", "<1@test>", "body")

    smtp.refuse = lambda address: "450 try again" if address.startswith("c@") else None
    with pytest.raises(SMTPRecipientsRefused):
        await send(text, sender="a@example.com", recipients=["c@example.com"], **where)
    assert smtp.to("c@example.com") == []
