"""The books of the ai action: cache, paid answers, ledger, budgets; the server counts the calls."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col

from activities import ai as ai_module
from activities.ai import preload
from activities.errors import ActionError
from db import ai_budgets, ai_ledger, ai_reports
from db.ai_answers import AiCached, AiResult
from db.ai_ledger import Allowance, CallState
from db.engine import Database
from tests.integration.activities.ai_desk import SCORE, Desk, config_of
from tests.servers.ai_server import AiServer

# Of gpt-4o-mini: 0.15 USD and 0.60 USD for a million tokens, 11 in and 7 out.
COST = Decimal("0.00000585")


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    await preload()
    async with AiServer() as server:
        yield Desk(database, server, config_of(server))


async def fault_of(desk: Desk, **given: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        await desk.ask(**given)
    return caught.value


async def spent(desk: Desk, scope: str) -> ai_ledger.Spent:
    async with desk.database.session() as session:
        return await ai_ledger.spent(session, desk.workspace, scope)


async def test_a_call_is_in_the_ledger_with_its_price(desk: Desk) -> None:
    result = await desk.ask()
    assert result.usage.cost_usd == pytest.approx(float(COST))
    (row,) = await desk.ledger()
    assert (row.state, row.cost, row.price_known) == (CallState.SETTLED, COST, True)
    assert (row.input_tokens, row.output_tokens, row.cached) == (11, 7, False)
    assert (row.run_id, row.step_path, row.definition) == (desk.run_id, "ask_1", "asking")
    run = await spent(desk, ai_ledger.run_scope(desk.run_id))
    assert (run.usd, run.tokens) == (COST, 18)
    assert await spent(desk, ai_ledger.day_scope(row.at)) == run


async def test_prices_unknown_and_named(desk: Desk) -> None:
    result = await desk.ask(model="openai:llama-of-ours")
    assert result.usage.cost_usd is None
    prices = {"openai:llama-of-ours": (Decimal(1), Decimal(2))}
    desk.config = replace(desk.config, prices=prices)
    result = await desk.ask(model="openai:llama-of-ours")
    assert result.usage.cost_usd == pytest.approx(25e-6)
    assert [row.price_known for row in await desk.ledger()] == [False, True]


async def test_a_cache_hit_makes_no_call_and_costs_nothing(desk: Desk) -> None:
    first = await desk.ask(cache={"ttl": "1h"})
    desk.server.text = "Something else."
    again = await desk.ask(cache={"ttl": "1h"})
    assert len(desk.server.calls) == 1
    assert (first.cached, again.cached) == (False, True)
    assert again.text == first.text == "Hello from the model."
    assert (again.usage.requests, again.usage.cost_usd) == (0, 0)
    assert (await spent(desk, ai_ledger.run_scope(desk.run_id))).usd == COST
    assert [row.cached for row in await desk.ledger()] == [False, True]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Ho"},
        {"model": "openai:gpt-4o"},
        {"model": "anthropic:claude-haiku-4-5"},
        {"temperature": 0.5},
        {"max_tokens": 50},
        {"system": "Be brief."},
        {"output": SCORE},
        {"cache": None},
    ],
)
async def test_another_question_is_asked(desk: Desk, other: dict[str, Any]) -> None:
    desk.server.output = {"score": 1}
    await desk.ask(cache={"ttl": "1h"})
    result = await desk.ask(**{"cache": {"ttl": "1h"}, **other})
    assert not result.cached
    assert len(desk.server.calls) == 2


async def test_another_workspace_does_not_get_it(desk: Desk) -> None:
    await desk.ask(cache={"ttl": "1h"})
    desk.workspace += "-other"
    assert not (await desk.ask(cache={"ttl": "1h"})).cached


async def test_an_expired_answer_is_asked_for_anew(desk: Desk) -> None:
    await desk.ask(cache={"ttl": "1h"})
    async with desk.database.session() as session:
        old = sa.update(AiCached).where(col(AiCached.workspace) == desk.workspace)
        await session.exec(old.values(expires_at=sa.func.now() - timedelta(seconds=1)))
    assert not (await desk.ask(cache={"ttl": "1h"})).cached
    assert len(desk.server.calls) == 2


async def test_a_repaired_answer_is_cached_a_wrong_one_is_not(desk: Desk) -> None:
    asked: dict[str, Any] = {"output": SCORE, "cache": {"ttl": "1h"}}
    desk.server.output = {"score": 11}
    assert (await fault_of(desk, **asked)).code == "AI_INVALID_OUTPUT"
    assert len(desk.server.calls) == 2
    desk.server.outputs = [{"score": 12}, {"score": 3}]
    result = await desk.ask(**asked)
    assert (result.output, result.repaired) == ({"score": 3}, True)
    assert result.usage.cost_usd == pytest.approx(float(2 * COST))
    assert len(desk.server.calls) == 4
    again = await desk.ask(**asked)
    assert (again.output, again.cached, again.repaired) == ({"score": 3}, True, True)
    assert [row.repair for row in await desk.ledger()] == [False, True, False, True, False]


async def test_an_attempt_after_a_crash_does_not_pay_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies after the answer and before the activity returns."""

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(ai_module, "_result", die)
        with pytest.raises(SystemExit):
            await desk.ask(path="ask")
    desk.server.text = "Something else."
    result = await desk.ask(path="ask")
    assert result.text == "Hello from the model."
    assert result.usage.cost_usd == pytest.approx(float(COST))
    assert len(desk.server.calls) == 1
    assert len(await desk.ledger()) == 1
    # Changed parameters, or another step, are another question.
    assert (await desk.ask(path="ask", prompt="Other")).text == "Something else."
    assert (await desk.ask(path="ask_b")).text == "Something else."


async def test_a_crash_between_the_answer_and_its_repair(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.outputs = [{"score": 11}, {"score": 4}]

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(ai_module.structured, "correction", die)
        with pytest.raises(SystemExit):
            await desk.ask(path="ask", output=SCORE)
    result = await desk.ask(path="ask", output=SCORE)
    assert (result.output, result.repaired) == ({"score": 4}, True)
    assert len(desk.server.calls) == 2


async def test_an_invalid_answer_is_forgotten(desk: Desk) -> None:
    desk.server.output = {"score": 11}
    await fault_of(desk, path="ask", output=SCORE)
    desk.server.output = {"score": 5}
    assert (await desk.ask(path="ask", output=SCORE)).output == {"score": 5}


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [("ai_budget: 0.0000001", 0), ("ai_tokens: 50", 0), ("ai_budget: 0", 0), ("ai_budget: 1", 1)],
)
async def test_a_runs_budget_refuses_before_the_call(desk: Desk, limits: str, allowed: int) -> None:
    await desk.run_with(limits)
    if allowed:
        await desk.ask()
    else:
        fault = await fault_of(desk)
        assert fault.code == "LIMIT_EXCEEDED"
        assert not fault.retryable
        assert fault.details["budget"] == "run"
        assert fault.hint is not None
        assert await desk.ledger() == []
    assert len(desk.server.calls) == allowed


async def test_parallel_calls_do_not_overrun_a_budget(desk: Desk) -> None:
    # One call is reserved at some 100 tokens of question and 1,000 of answer.
    await desk.run_with("ai_tokens: 2500")
    desk.server.delay = 0.3
    asking = [desk.ask(max_tokens=1000) for _ in range(6)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(answer, ActionError) for answer in answers) == 4
    assert len(desk.server.calls) == 2
    # What was not used is free again.
    await desk.ask(max_tokens=1000)
    assert (await spent(desk, ai_ledger.run_scope(desk.run_id))).tokens == 3 * 18


async def test_without_max_tokens_a_budget_cuts_the_answer(desk: Desk) -> None:
    await desk.ask()
    await desk.run_with("ai_budget: 1")
    await desk.ask()
    cuts = [sent.get("max_completion_tokens") for _, sent in desk.server.calls]
    assert cuts == [None, 4096]


async def test_a_workspaces_daily_budget(desk: Desk) -> None:
    desk.config = replace(desk.config, daily=Allowance(tokens=50))
    fault = await fault_of(desk)
    assert (fault.code, fault.retryable) == ("RATE_LIMITED", True)
    assert fault.details["budget"] == "workspace"
    assert fault.retry_after is not None
    assert 0 < fault.retry_after <= 86_400
    assert desk.server.calls == []
    # One set for the workspace takes the place of the settings'.
    async with desk.database.session() as session:
        await ai_budgets.put(session, desk.workspace, daily_usd=Decimal(5), daily_tokens=None)
    await desk.ask()
    assert len(desk.server.calls) == 1


async def test_a_budget_in_dollars_needs_a_price(desk: Desk) -> None:
    desk.config = replace(desk.config, daily=Allowance(usd=Decimal(5)))
    fault = await fault_of(desk, model="openai:llama-of-ours")
    assert fault.code == "LIMIT_EXCEEDED"
    assert fault.hint is not None
    assert "SOJOURN_AI_PRICES" in fault.hint
    assert desk.server.calls == []
    prices = {"openai:llama-of-ours": (Decimal(0), Decimal(0))}
    desk.config = replace(desk.config, prices=prices)
    await desk.ask(model="openai:llama-of-ours")


async def test_what_may_have_been_paid_for_goes_on_to_count(desk: Desk) -> None:
    desk.server.delay = 30
    assert (await fault_of(desk, seconds=0.5, max_tokens=100)).code == "STEP_TIMEOUT"
    desk.server.delay, desk.server.status = 0, 503
    assert (await fault_of(desk)).code == "AI_UNAVAILABLE"
    slow, refused = await desk.ledger()
    assert slow.state is CallState.RESERVED
    assert slow.held_cost > 0
    assert (refused.state, refused.held_cost) == (CallState.FAILED, 0)
    assert (await spent(desk, ai_ledger.run_scope(desk.run_id))).usd == slow.held_cost


@pytest.mark.parametrize("group", ["day", "definition", "run", "step", "model"])
async def test_sums_equal_the_rows(desk: Desk, group: ai_reports.GroupBy) -> None:
    desk.server.output = {"score": 11}
    await desk.ask(cache={"ttl": "1h"})
    await desk.ask(cache={"ttl": "1h"})
    await desk.ask(model="anthropic:claude-haiku-4-5")
    await fault_of(desk, output=SCORE)
    desk.server.status = 500
    await fault_of(desk)
    rows = await desk.ledger()
    async with desk.database.session() as session:
        sums = await ai_reports.sums(session, desk.workspace, group)
    assert sum(one.cost for one in sums) == sum(row.cost or 0 for row in rows)
    assert sum(one.calls for one in sums) == len(desk.server.calls) - 1 == 4
    assert sum(one.failed for one in sums) == sum(one.cached for one in sums) == 1
    assert sum(one.repairs for one in sums) == 1
    assert sum(one.input_tokens for one in sums) == sum(row.input_tokens for row in rows)
    assert len(sums) == {"model": 2, "step": 5}.get(group, 1)


async def test_expired_answers_are_swept(desk: Desk) -> None:
    await desk.ask(path="old", cache={"ttl": "1h"})
    async with desk.database.session() as session:
        for table in (AiResult, AiCached):
            old = sa.update(table).where(col(table.workspace) == desk.workspace)
            await session.exec(old.values(expires_at=sa.func.now() - timedelta(days=1)))
    await desk.ask(path="new", prompt="Other", cache={"ttl": "1h"})
    async with desk.database.session() as session:
        for table in (AiResult, AiCached):
            count = sa.select(sa.func.count()).where(col(table.workspace) == desk.workspace)
            assert (
                await (await session.connection()).execute(count.select_from(table))
            ).scalar() == 1
