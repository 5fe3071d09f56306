"""Circuit breakers and fallback models, against a server that fails as it is told."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from activities.ai import preload
from activities.errors import ActionError
from db import ai_breakers
from db.ai_breakers import CircuitState, Permit, Thresholds
from db.engine import Database
from tests.integration.activities.ai_desk import Desk, config_of, let_pass
from tests.servers.ai_server import AiServer

if TYPE_CHECKING:
    from collections.abc import Awaitable


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    await preload()
    async with AiServer() as server:
        yield Desk(database, server, config_of(server))


async def fault_of(asking: "Awaitable[object]") -> ActionError:
    with pytest.raises(ActionError) as caught:
        await asking
    return caught.value


async def test_a_circuit_opens_half_opens_and_closes(desk: Desk) -> None:
    desk.server.status = 500
    for _ in range(3):
        assert (await fault_of(desk.ask())).code == "AI_UNAVAILABLE"
    shut = await fault_of(desk.ask())
    assert shut.code == "CIRCUIT_OPEN"
    assert shut.retryable
    assert shut.retry_after is not None
    assert 25 < shut.retry_after <= 30
    assert len(desk.server.calls) == 3

    row = (await desk.circuits())["openai"]
    await let_pass(desk.database, row.endpoint)
    assert (await fault_of(desk.ask())).code == "AI_UNAVAILABLE"  # the probe fails: open again
    assert (await fault_of(desk.ask())).code == "CIRCUIT_OPEN"
    assert len(desk.server.calls) == 4

    await let_pass(desk.database, row.endpoint)
    desk.server.status = 200
    assert (await desk.ask()).text == "Hello from the model."
    row = (await desk.circuits())["openai"]
    assert (row.state, row.failures) == (CircuitState.CLOSED, 0)
    await desk.ask()
    assert len(desk.server.calls) == 6


@pytest.mark.parametrize("status", [400, 401, 429])
async def test_refusals_do_not_open_it(desk: Desk, status: int) -> None:
    desk.server.status = status
    for _ in range(5):
        assert (await fault_of(desk.ask())).code != "CIRCUIT_OPEN"
    assert "openai" not in await desk.circuits()
    assert len(desk.server.calls) == 5


async def test_a_success_between_failures_resets_the_count(desk: Desk) -> None:
    for status in (500, 500, 200, 500, 500):
        desk.server.status = status
        if status == 200:
            await desk.ask()
        else:
            await fault_of(desk.ask())
    row = (await desk.circuits())["openai"]
    assert (row.state, row.failures) == (CircuitState.CLOSED, 2)


async def test_one_of_many_may_probe(desk: Desk) -> None:
    desk.server.status = 500
    for _ in range(3):
        await fault_of(desk.ask())
    row = (await desk.circuits())["openai"]
    await let_pass(desk.database, row.endpoint)
    desk.server.status, desk.server.delay = 200, 0.5
    answers = await asyncio.gather(*(desk.ask() for _ in range(8)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, ActionError)]
    assert [fault.code for fault in refused] == ["CIRCUIT_OPEN"] * 7
    assert len(desk.server.calls) == 4


async def test_the_database_alone_decides_who_probes(database_url: str) -> None:
    """Two pools without anything in common, as of two workers."""
    pools = [Database(database_url, pool_size=4) for _ in range(2)]
    limits, name = Thresholds(failures=1, probes=2), f"openai {uuid4()}"
    async with pools[0].session() as session:
        assert await ai_breakers.failed(session, "", name, Permit(allowed=True), limits, "gone")
    async with pools[1].session() as session:
        late = Permit(allowed=True)
        assert not await ai_breakers.failed(session, "", name, late, limits, "late")
        assert not (await ai_breakers.permit(session, "", name, limits)).allowed
    await let_pass(pools[0], name)

    async def ask(pool: Database) -> Permit:
        async with pool.session() as session:
            return await ai_breakers.permit(session, "", name, limits)

    permits = await asyncio.gather(*(ask(pools[place % 2]) for place in range(8)))
    let = [permit for permit in permits if permit.allowed]
    assert len(let) == 2
    assert all(permit.probe for permit in let)
    for place, permit in enumerate(let):
        async with pools[place].session() as session:
            await ai_breakers.succeeded(session, "", name, permit, limits)
        assert (await ask(pools[1 - place])).allowed == (place == 1)
    for pool in pools:
        await pool.close()


async def test_a_probe_that_says_nothing_is_given_up(database: Database) -> None:
    limits = Thresholds(failures=1, probe_for=timedelta(0))
    name = f"openai {uuid4()}"
    async with database.session() as session:
        await ai_breakers.failed(session, "", name, Permit(allowed=True), limits, "gone")
    await let_pass(database, name)
    async with database.session() as session:
        first = await ai_breakers.permit(session, "", name, limits)
    async with database.session() as session:
        second = await ai_breakers.permit(session, "", name, limits)
        assert first.allowed
        assert second.allowed
        # What the first says after all is not heard.
        await ai_breakers.succeeded(session, "", name, first, limits)
        row = next(r for r in await ai_breakers.list_all(session, "") if r.endpoint == name)
    assert row.state is CircuitState.HALF_OPEN


@pytest.mark.parametrize("status", [503, 429, 401])
async def test_the_next_model_answers(desk: Desk, status: int) -> None:
    desk.server.failures = [status]
    result = await desk.ask(fallback=["anthropic:claude-haiku-4-5", "google:gemini-2.5-flash"])
    assert (result.provider, result.model) == ("anthropic", "claude-haiku-4-5")
    states = [(row.provider, row.state.value) for row in await desk.ledger()]
    assert states == [("openai", "failed"), ("anthropic", "settled")]


async def test_an_open_circuit_passes_on_without_a_call(desk: Desk) -> None:
    desk.server.status = 500
    for _ in range(3):
        await fault_of(desk.ask())
    desk.server.status = 200
    result = await desk.ask(fallback=["google:gemini-2.5-flash"])
    assert (result.provider, result.model) == ("google", "gemini-2.5-flash")
    assert len(desk.server.calls) == 4


async def test_a_slow_model_leaves_time_for_the_next(desk: Desk) -> None:
    async with AiServer(delay=30) as slow:
        desk.config = replace(desk.config, openai_base_url=slow.openai_url)
        result = await desk.ask(seconds=2, fallback=["anthropic:claude-haiku-4-5"])
    assert result.provider == "anthropic"
    assert [row.state.value for row in await desk.ledger()] == ["reserved", "settled"]


async def test_a_request_that_is_wrong_is_not_passed_on(desk: Desk) -> None:
    desk.server.status = 400
    fault = await fault_of(desk.ask(fallback=["anthropic:claude-haiku-4-5"]))
    assert fault.code == "INVALID_INPUT"
    assert len(desk.server.calls) == 1


async def test_when_none_answers_each_is_named(desk: Desk) -> None:
    desk.server.status, desk.server.retry_after = 503, "9"
    fault = await fault_of(desk.ask(fallback=["gpt-4o", "google:gemini-2.5-flash"]))
    assert (fault.code, fault.retryable, fault.retry_after) == ("AI_UNAVAILABLE", True, 9)
    named = [told["model"] for told in fault.details["models"]]
    assert named == ["openai:gpt-4o-mini", "openai:gpt-4o", "google:gemini-2.5-flash"]
