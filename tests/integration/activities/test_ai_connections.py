"""The ai action with stored connections: each workspace's own key, address and circuit."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from activities.ai import AiParams, AiResult, ai, preload
from activities.context import ActionContext
from activities.errors import ActionError
from activities.services import AiConfig, Services
from db import ai_breakers, connections
from db.engine import Database
from db.ids import new_id
from schemas.actions import StepContext
from schemas.keyring import KeyRing
from tests.servers.ai_server import AiServer

KEYS = KeyRing.parse("k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "google": "gemini-2.5-flash",
}


@pytest.fixture
async def server() -> AsyncIterator[AiServer]:
    await preload()
    async with AiServer() as running:
        yield running


@pytest.fixture
async def context(database: Database, server: AiServer) -> AsyncIterator[ActionContext]:
    """A step of a workspace with a connection of each kind, on a worker without keys."""
    workspace = f"w-{uuid4().hex[:8]}"
    urls = {
        "openai": server.openai_url,
        "anthropic": server.anthropic_url,
        "google": server.google_url,
    }
    async with database.session() as session:
        for kind, url in urls.items():
            await connections.put(
                session,
                workspace,
                f"our-{kind}",
                kind=kind,
                config={"base_url": url},
                secrets={"api_key": f"key-of-{kind}"},
                keyring=KEYS,
            )
    services = Services(
        database=database,
        keyring=KEYS,
        # An address that a workspace names is closed unless the operator opens it.
        ai=AiConfig(allow_cidrs=("127.0.0.0/8",), allow_ports=tuple(range(1024, 65536))),
    )
    step = StepContext(workspace=workspace, definition="asking", run_id=new_id(), path="ask")
    yield ActionContext(step=step, services=services, timeout=timedelta(seconds=10))
    await services.aclose()


async def ask(context: ActionContext, **given: Any) -> AiResult:
    return await ai(AiParams.model_validate({"prompt": "Hi", **given}), context)


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize("prefix", [True, False])
async def test_each_kind_is_asked_with_its_key(
    context: ActionContext, server: AiServer, kind: str, prefix: bool
) -> None:
    model = f"{kind}:{MODELS[kind]}" if prefix else MODELS[kind]
    result = await ask(context, model=model, connection=f"our-{kind}")
    assert (result.provider, result.model) == (kind, MODELS[kind])
    assert server.keys == [f"key-of-{kind}"]


async def test_a_fallback_with_a_connection_of_its_own(
    context: ActionContext, server: AiServer
) -> None:
    server.failures = [503]
    fallback = [{"model": "claude-haiku-4-5", "connection": "our-anthropic"}]
    result = await ask(context, model="gpt-4o-mini", connection="our-openai", fallback=fallback)
    assert result.provider == "anthropic"
    assert server.keys == ["key-of-openai", "key-of-anthropic"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"connection": "nobodys"}, "no connection named"),
        ({"connection": "our-google", "model": "openai:gpt-4o-mini"}, "is of kind google"),
    ],
)
async def test_connections_that_cannot_be_meant(
    context: ActionContext, server: AiServer, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ActionError, match=said) as caught:
        await ask(context, **{"model": "gpt-4o-mini", **given})
    assert (caught.value.code, caught.value.retryable) == ("INVALID_INPUT", False)
    assert server.calls == []


async def test_the_circuit_is_the_workspaces_own(
    context: ActionContext, server: AiServer, database: Database
) -> None:
    config = context.services.ai
    context.services.ai = replace(config, breaker=config.breaker.model_copy(update={"failures": 1}))
    server.status = 500
    for code in ("AI_UNAVAILABLE", "CIRCUIT_OPEN"):
        with pytest.raises(ActionError) as caught:
            await ask(context, model="gpt-4o-mini", connection="our-openai")
        assert caught.value.code == code
    async with database.session() as session:
        rows = await ai_breakers.list_all(session, context.step.workspace)
    ours = [row.endpoint for row in rows if row.workspace]
    assert ours == ["connection our-openai"]


async def test_an_internal_address_is_closed(context: ActionContext, server: AiServer) -> None:
    closed = replace(context, services=replace(context.services, ai=AiConfig()))
    with pytest.raises(ActionError) as caught:
        await ask(closed, model="gpt-4o-mini", connection="our-openai")
    await closed.services.aclose()
    assert caught.value.code == "FORBIDDEN"
    assert server.calls == []
