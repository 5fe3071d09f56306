"""Calls of MCP tools whose answers are lost: made once with `at_most_once`, and by default."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.execution import attempt
from activities.registry import load
from activities.services import Services
from db.deliveries import Delivery, DeliveryState
from db.ids import new_id
from schemas.actions import StepContext
from tests.servers.mcp_server import McpServer

if TYPE_CHECKING:
    from db.engine import Database

REGISTRY = load()


def a_step(*, once: bool) -> StepContext:
    return StepContext(
        workspace="default", definition="test", run_id=new_id(), path="call", once=once
    )


async def called(
    services: Services, server: McpServer, step: StepContext, tool: str, number: int = 1
) -> Any:
    params = {"url": server.url, "tool": tool, "arguments": {"a": 2, "b": 3}}
    told = step.model_dump(mode="json", exclude_defaults=True)
    call = attempt(
        REGISTRY.get("mcp"),
        services,
        params,
        told,
        number=number,
        timeout=timedelta(seconds=2),
    )
    return (await asyncio.create_task(call))["result"]


@pytest.mark.parametrize("tool", ["add", "put"])
@pytest.mark.parametrize("how", ["drop", "hang", 500])
async def test_at_most_once_is_parked_and_never_called_again(
    services: Services, database: "Database", how: str | int, tool: str
) -> None:
    step = a_step(once=True)
    async with McpServer(lose={"tools/call": how}) as server:
        for number in (1, 2, 3):
            with pytest.raises(ApplicationError) as caught:
                await called(services, server, step, tool, number)
            assert (caught.value.type, caught.value.non_retryable) == ("DELIVERY_UNKNOWN", True)
        assert server.done == 1
    async with database.session() as session:
        row = await session.get(Delivery, step.key)
    assert row is not None
    assert (row.state, row.action) == (DeliveryState.UNKNOWN, "mcp")


async def test_at_most_once_gives_the_earlier_result(services: Services) -> None:
    step = a_step(once=True)
    async with McpServer() as server:
        first = await called(services, server, step, "add")
        assert await called(services, server, step, "add", 2) == first
        assert (server.done, first["text"]) == (1, "5")


async def test_at_most_once_tries_again_what_was_not_begun(services: Services) -> None:
    step = a_step(once=True)
    async with McpServer(lose={"initialize": 500}) as server:
        with pytest.raises(ApplicationError) as caught:
            await called(services, server, step, "add")
        assert (caught.value.type, caught.value.non_retryable) == ("HTTP_ERROR", False)
        server.lose = {"tools/call": 503}
        with pytest.raises(ApplicationError) as caught:
            await called(services, server, step, "add", 2)
        assert (caught.value.type, caught.value.non_retryable) == ("HTTP_ERROR", False)
        server.lose = {}
        assert (await called(services, server, step, "add", 3))["text"] == "5"


@pytest.mark.parametrize(("tool", "final"), [("add", True), ("put", False), ("look", False)])
async def test_by_default_only_tools_without_harm_are_tried_again(
    services: Services, tool: str, final: bool
) -> None:
    step = a_step(once=False)
    async with McpServer(lose={"tools/call": "drop"}) as server:
        with pytest.raises(ApplicationError) as caught:
            await called(services, server, step, tool)
        assert (caught.value.type, caught.value.non_retryable) == ("HTTP_ERROR", final)
        assert server.done == 1
