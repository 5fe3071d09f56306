"""The webhook action against receivers that verify with the standard's own library."""

import asyncio
import base64
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlmodel import select
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.errors import ActionError
from activities.execution import execute
from activities.registry import Registry, load
from activities.services import HttpConfig, Services
from activities.webhook import SCHEDULE, WebhookParams, message_id, webhook
from db import connections
from db.audit import AuditEntry
from tests.kit.mailing import KEYRING
from tests.servers.wire import Received, WireServer, respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from activities.context import ActionContext
    from db.engine import Database

NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
DATA = {"lead": "Zoë 🚀", "score": 0.5, "list": [1, None], "slash": "a/b", "mark": "</script>"}


@dataclass
class Receiver:
    """Answers what it is told to, and keeps what came."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    came: list[Received] = field(default_factory=list)

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.came.append(request)
        respond(writer, self.status, b"" if self.status == 204 else b"said no", self.headers)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def server(receiver: Receiver) -> "AsyncIterator[WireServer]":
    async with WireServer(receiver) as found:
        yield found


@pytest.fixture
def connected(database: "Database") -> "Callable[..., Any]":
    async def made(url: str | None, **secrets: str) -> str:
        name = f"hook-{uuid4().hex[:8]}"
        async with database.session() as session:
            await connections.put(
                session, "default", name, kind="webhook", config={"url": url},
                secrets=secrets or {"secret": NEW}, keyring=KEYRING,
            )  # fmt: skip
        return name

    return made


def params(connection: str, **given: Any) -> WebhookParams:
    return WebhookParams.model_validate(
        {"connection": connection, "event": "lead.qualified", "data": DATA} | given
    )


async def test_a_receiver_verifies_it(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]"
) -> None:
    name, context = await connected(f"{server.url}/in?x=1"), step()
    result = await webhook(params(name, timestamp="2026-01-31T12:00:00Z"), context)
    (request,) = receiver.came
    assert result.status == 204
    assert result.id == request.headers["webhook-id"] == message_id(context.step.key)
    assert (request.method, request.target) == ("POST", "/in?x=1")
    assert request.headers["content-type"] == "application/json"
    told = Webhook(NEW).verify(request.body, request.headers)
    assert told == {"type": "lead.qualified", "timestamp": "2026-01-31T12:00:00Z", "data": DATA}
    # Raw: nothing is escaped that JSON can hold.
    assert "Zoë 🚀" in request.body.decode()
    # The control: a body, an id or a secret that is another's does not verify.
    for body, headers, secret in (
        (request.body + b" ", request.headers, NEW),
        (request.body, request.headers | {"webhook-id": "msg_other"}, NEW),
        (request.body, request.headers, OLD),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


async def test_attempts_share_the_id_and_are_signed_anew(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]"
) -> None:
    name, context = await connected(server.url), step()
    for attempt in (1, 2):
        await webhook(params(name), replace(context, attempt=attempt))
    await webhook(params(name), step(run_id=context.step.run_id, path="other"))
    first, second, other = receiver.came
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert other.headers["webhook-id"] != first.headers["webhook-id"]
    for request in receiver.came:
        sent = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        assert abs(datetime.now(UTC) - sent) < timedelta(minutes=1)
        Webhook(NEW).verify(request.body, request.headers)


async def test_a_secret_is_replaced_without_a_gap(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]"
) -> None:
    name = await connected(server.url, secret=NEW, previous=OLD)
    await webhook(params(name), step())
    (request,) = receiver.came
    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in (NEW, OLD):
        Webhook(secret).verify(request.body, request.headers)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


async def failure(
    registry: Registry, context: "ActionContext", name: str, attempt: int = 1, **retry: Any
) -> ApplicationError:
    environment = ActivityEnvironment()
    environment.info = replace(ActivityEnvironment.default_info(), attempt=attempt)
    told = context.step.model_copy(update={"retry": retry}).model_dump(mode="json")
    given = params(name).model_dump()
    entry = registry.get("webhook")
    with pytest.raises(ApplicationError) as caught:
        await environment.run(execute, entry, context.services, given, told)
    return caught.value


@pytest.mark.parametrize("attempt", range(1, 10))
async def test_the_pace_of_the_specification(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]",
    registry: Registry, attempt: int,
) -> None:  # fmt: skip
    receiver.status = 500
    error = await failure(registry, step(), await connected(server.url), attempt)
    assert not error.non_retryable
    assert error.next_retry_delay is not None
    pause = SCHEDULE[attempt - 1]
    assert pause <= error.next_retry_delay <= pause * 1.1
    assert len(SCHEDULE) == 9


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 502, 503])
async def test_every_refusal_but_gone_is_tried_again(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]",
    registry: Registry, status: int,
) -> None:  # fmt: skip
    receiver.status, receiver.headers = status, {"location": "/else", "retry-after": "900"}
    error = await failure(registry, step(), await connected(server.url))
    assert error.type == "HTTP_ERROR"
    assert not error.non_retryable
    # Longer than the schedule's five seconds.
    assert error.next_retry_delay == timedelta(seconds=900)
    assert error.details[0]["status"] == status
    assert len(receiver.came) == 1


async def test_who_is_gone_is_left_alone(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]",
    registry: Registry, database: "Database",
) -> None:  # fmt: skip
    receiver.status = 410
    name, other = await connected(server.url), await connected(server.url)
    error = await failure(registry, step(), name)
    assert error.non_retryable
    assert "410" in error.message
    assert "gone" in error.message
    assert len(receiver.came) == 1
    # Whatever it would answer by now: it is not asked.
    receiver.status = 204
    refused = await failure(registry, step(), name)
    assert (refused.type, refused.non_retryable) == ("CONFLICT", True)
    assert "disabled" in refused.message
    assert f"/connections/{name}/enable" in refused.details[0]["hint"]
    assert len(receiver.came) == 1
    # The control: another connection to the same place, and this one when it is enabled.
    await webhook(params(other), step())
    async with database.session() as session:
        await connections.enable(session, "default", name, actor="somebody")
    await webhook(params(name), step())
    assert len(receiver.came) == 3


async def test_only_the_connection_that_was_told_is_disabled(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]",
    registry: Registry, database: "Database",
) -> None:  # fmt: skip
    name, context = await connected(server.url), step()

    async def replaced(request: Received, writer: asyncio.StreamWriter) -> None:
        async with database.session() as session:
            await connections.put(
                session, "default", name, kind="webhook", config={"url": server.url},
                secrets={"secret": NEW}, keyring=KEYRING,
            )  # fmt: skip
        respond(writer, 410, b"")

    server.handler = replaced
    assert "410" in (await failure(registry, context, name)).message
    async with database.session() as session:
        assert (await connections.get(session, "default", name)).disabled_at is None
    server.handler = receiver
    receiver.status = 410
    assert "410" in (await failure(registry, context, name)).message
    async with database.session() as session:
        row = await connections.get(session, "default", name)
        entries = await session.exec(select(AuditEntry).where(AuditEntry.subject == name))
        (entry,) = entries.all()
    assert row.disabled_at is not None
    assert entry.action == "connection.disable"
    assert entry.actor == f"run:{context.step.run_id}"
    assert entry.data == {"reason": row.disabled_reason}


async def test_a_pace_of_the_authors_own(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]",
    registry: Registry,
) -> None:  # fmt: skip
    receiver.status = 500
    own = {"attempts": 3, "initial": "2s", "jitter": False}
    error = await failure(registry, step(), await connected(server.url), 2, **own)
    assert error.next_retry_delay == timedelta(seconds=4)


async def test_a_lost_receiver_is_tried_again(
    connected: Any, step: "Callable[..., ActionContext]", registry: Registry
) -> None:
    async with WireServer(Receiver()) as server:
        url = server.url
    error = await failure(registry, step(), await connected(url))
    assert not error.non_retryable
    assert error.type == "HTTP_ERROR"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("whsec_c2hvcnQ=", "24 to 64"),
        ("not base64 at all", "24 to 64"),
        ("whsec_" + "A" * 200, "24"),
    ],
)
async def test_a_secret_that_cannot_sign(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]",
    secret: str, why: str,
) -> None:  # fmt: skip
    with pytest.raises(ActionError, match=why) as caught:
        await webhook(params(await connected(server.url, secret=secret)), step())
    assert caught.value.code == "INVALID_INPUT"
    assert secret not in str(caught.value)
    assert receiver.came == []


async def test_what_is_refused_before_it_is_sent(
    server: WireServer, receiver: Receiver, connected: Any, step: "Callable[..., ActionContext]",
    database: "Database",
) -> None:  # fmt: skip
    with pytest.raises(ActionError, match="no usable url"):
        await webhook(params(await connected(None)), step())
    with pytest.raises(ActionError, match="262,144") as caught:
        await webhook(params(await connected(server.url), data="x" * 262_144), step())
    assert caught.value.code == "LIMIT_EXCEEDED"
    shut = Services(
        database=database, keyring=KEYRING, http_config=HttpConfig(allow_ports=(server.port,))
    )
    with pytest.raises(ActionError, match="not a public address"):
        await webhook(params(await connected(server.url)), replace(step(), services=shut))
    await shut.aclose()
    assert receiver.came == []
    assert server.connections == 0
