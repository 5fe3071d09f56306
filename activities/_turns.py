"""One turn of a model as one durable step: cache, circuit, budget, the call, the ledger.

What was paid for is stored under the step's key before the activity returns: the attempt after a
crash finds it there. A worker without a database (a test of one action) only makes the call.
"""

import asyncio
import importlib
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from activities import _breaker
from activities._endpoints import resolve
from activities._questions import Endpoint, ModelFault, Question, Reply
from activities.context import ActionContext
from activities.errors import ActionError
from db import ai_answers, ai_budgets, ai_ledger
from db.ai_breakers import Permit
from db.ai_budgets import RunBudget
from db.ai_ledger import AiUsage, Allowance
from db.engine import Database
from schemas.errors import ErrorCode, SojournError

_logger = logging.getLogger(__name__)
# After these the next model is asked.
_PASSED_ON = frozenset({ErrorCode.AI_UNAVAILABLE, ErrorCode.CIRCUIT_OPEN, ErrorCode.STEP_TIMEOUT})
# Seconds. A provider that says nothing for so long counts as down; a step with a shorter timeout
# says more about the step.
_SILENCE = 3.0


async def load_backend() -> Any:
    """Import `_models` outside the event loop: it takes seconds, and heartbeats must go on.

    Raises ActionError AI_UNAVAILABLE where the extra `ai` is not installed.
    """
    try:
        return await asyncio.to_thread(importlib.import_module, "activities._models")
    except ImportError as error:
        raise ActionError(
            f"AI steps need the extra 'ai': {error.name} is not installed",
            code=ErrorCode.AI_UNAVAILABLE,
            retryable=False,
            hint="install sojourn[ai] on the workers",
        ) from error


async def take_turn(
    question: Question,
    scope: ActionContext,
    *,
    deadline: float,
    call: int = 0,
    repair: bool = False,
) -> Reply:
    """Ask the question's models in order until one answers, and keep the books.

    `deadline` is a time of the event loop; each model left gets an equal share of what remains.
    `call` numbers the calls of one step from 0: an answer that an earlier attempt had paid for
    under the same number, to the same question, is given again (`stored`).

    Raises ActionError: AI_UNAVAILABLE, CIRCUIT_OPEN, STEP_TIMEOUT when no model answered;
    LIMIT_EXCEEDED (the run's budget; final) and RATE_LIMITED (the workspace's for today) before
    any call; INVALID_INPUT, FORBIDDEN, AI_INVALID_OUTPUT from `_models.request`.
    """
    backend = await load_backend()
    turn = _Turn(question, scope, backend, call, repair)
    stored = await turn.stored()
    if stored is not None:
        return stored
    loop = asyncio.get_running_loop()
    faults: list[tuple[str, ActionError]] = []
    for place, choice in enumerate(question.choices):
        seconds = (deadline - loop.time()) / (len(question.choices) - place)
        try:
            if seconds <= 0:
                # What has been answered so far is stored: another attempt goes on from there.
                raise ActionError(
                    f"no time was left to ask {choice.model}",
                    code=ErrorCode.STEP_TIMEOUT,
                    hint="give the step a longer 'timeout'",
                )
            return await turn.ask(await resolve(choice, scope), seconds)
        except ActionError as error:
            if error.code not in _PASSED_ON:
                raise
            faults.append((choice.model, error))
    raise _together(faults)


async def remember(question: Question, reply: Reply, scope: ActionContext) -> None:
    """Cache a reply for other steps, if the question wants that and the answer is whole."""
    database = scope.services.database
    if database is None or question.cache is None or reply.cached or not reply.complete:
        return
    key = question.fingerprint(reply.provider, reply.asked, reply.circuit)
    value = reply.model_dump(mode="json", exclude={"stored"})

    async def keep(ttl: timedelta) -> None:
        async with database.session() as session:
            await ai_answers.keep_cached(session, scope.step.workspace, key, value, ttl)

    await _unless_away("a cached answer", keep(question.cache))


async def forget(scope: ActionContext) -> None:
    """Forget what the step was answered: its next attempt asks and pays anew."""
    if scope.services.database is not None:
        async with scope.services.database.session() as session:
            await ai_answers.forget_results(session, scope.step.workspace, scope.step.key)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A call that may be made: its circuit, its row of the ledger, and the question as sent."""

    permit: Permit
    row: AiUsage
    question: Question


class _Turn:
    def __init__(
        self, question: Question, scope: ActionContext, backend: Any, call: int, repair: bool
    ) -> None:
        self._question = question
        self._scope = scope
        self._backend = backend
        self._call = call
        self._repair = repair
        self._mark = question.fingerprint()

    async def stored(self) -> Reply | None:
        """Give what an earlier attempt was answered."""
        database, step = self._scope.services.database, self._scope.step
        if database is None:
            return None
        async with database.session() as session:
            found = await ai_answers.result(
                session, step.workspace, step.key, self._call, self._mark
            )
        return None if found is None else Reply.model_validate({**found, "stored": True})

    async def ask(self, endpoint: Endpoint, seconds: float) -> Reply:
        """Ask one model, from the cache if it may be."""
        database = self._scope.services.database
        if database is None:
            reply, _ = await self._request(endpoint, self._question, seconds)
            return reply
        if self._question.cache is not None:
            found = await self._cached(database, endpoint)
            if found is not None:
                return found
        begun = await self._begin(database, endpoint)
        try:
            reply, used = await self._request(endpoint, begun.question, seconds)
        except ActionError as error:
            await _unless_away("a failed call", self._failed(database, endpoint, begun, error))
            raise
        prices = self._scope.services.ai.prices
        reply.cost = self._backend.prices.cost(prices, endpoint, used, reply.model)
        _logger.info(
            "%s answered: call %s, request %s, %d tokens in, %d out",
            reply.model,
            begun.row.id,
            reply.request_id,
            reply.input_tokens,
            reply.output_tokens,
        )
        ending = asyncio.ensure_future(
            _unless_away("an answer", self._succeeded(database, endpoint, begun, reply))
        )
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            # It is paid for: the books are finished before the step is cut off.
            await ending
            raise
        return reply

    async def _request(
        self, endpoint: Endpoint, question: Question, seconds: float
    ) -> tuple[Reply, Any]:
        try:
            async with asyncio.timeout(seconds):
                return await self._backend.request(
                    endpoint, self._scope.services.ai_http, question, seconds
                )
        except TimeoutError as error:
            raise ModelFault(
                f"{endpoint.model} did not answer within {seconds:.3g} s",
                code=ErrorCode.STEP_TIMEOUT,
                hint="give the step a longer 'timeout'",
                down=seconds >= _SILENCE,
                in_doubt=True,
            ) from error

    async def _cached(self, database: Database, endpoint: Endpoint) -> Reply | None:
        workspace = self._scope.step.workspace
        key = self._question.fingerprint(endpoint.provider, endpoint.model, endpoint.circuit)
        async with database.session() as session:
            found = await ai_answers.cached(session, workspace, key)
            if found is None:
                return None
            budget = await ai_budgets.of_run(session, workspace, self._scope.step.run_id)
            await ai_ledger.note_cached(session, self._row(endpoint, budget))
        free = {"cached": True, "input_tokens": 0, "output_tokens": 0, "cost": Decimal(0)}
        return Reply.model_validate({**found, **free})

    async def _begin(self, database: Database, endpoint: Endpoint) -> _Begun:
        """Pass the circuit and reserve what the call may cost, in one transaction."""
        config, step = self._scope.services.ai, self._scope.step
        async with database.session() as session:
            permit = await _breaker.enter(session, endpoint, config.breaker)
            budget = await ai_budgets.of_run(session, step.workspace, step.run_id)
            own = await ai_budgets.stored(session, step.workspace)
            daily = config.daily
            if own is not None:
                daily = Allowance(usd=own.daily_usd, tokens=own.daily_tokens)
            runs = [each.allowance for each in budget.chain]
            bounded = any(limit != Allowance() for limit in (*runs, daily))
            question = self._question
            if bounded and question.max_tokens is None:
                question = replace(question, max_tokens=config.max_tokens)
            row = self._row(endpoint, budget)
            tokens = self._backend.prices.input_estimate(question), question.max_tokens or 0
            price = self._backend.prices.estimate(config.prices, endpoint, tokens)
            if price is None and any(limit.usd is not None for limit in (*runs, daily)):
                raise _without_price(endpoint)
            row.price_known, row.held_cost = price is not None, price or Decimal(0)
            row.held_tokens = sum(tokens)
            lacking = await ai_ledger.reserve(session, row, runs, daily)
            if lacking is not None:
                raise _spent(*lacking, row)
        return _Begun(permit, row, question)

    def _row(self, endpoint: Endpoint, budget: RunBudget) -> AiUsage:
        step = self._scope.step
        return AiUsage(
            workspace=step.workspace,
            definition=step.definition,
            run_id=step.run_id,
            budget_run_id=budget.run_id,
            budget_above=[each.run_id for each in budget.above] or None,
            step_path=step.path,
            step_key=step.key,
            provider=endpoint.provider,
            model=endpoint.model,
            repair=self._repair,
        )

    async def _failed(
        self, database: Database, endpoint: Endpoint, begun: _Begun, error: ActionError
    ) -> None:
        async with database.session() as session:
            # The circuit first, as when a call begins: no two ever wait for each other.
            await _breaker.report(
                session, endpoint, begun.permit, self._scope.services.ai.breaker, error
            )
            if not (isinstance(error, ModelFault) and error.in_doubt):
                await ai_ledger.release(session, begun.row)

    async def _succeeded(
        self, database: Database, endpoint: Endpoint, begun: _Begun, reply: Reply
    ) -> None:
        step = self._scope.step
        async with database.session() as session:
            await _breaker.report(session, endpoint, begun.permit, self._scope.services.ai.breaker)
            await ai_ledger.settle(
                session,
                begun.row,
                model=reply.model,
                input_tokens=reply.input_tokens,
                output_tokens=reply.output_tokens,
                cost=reply.cost,
            )
            await ai_answers.keep_result(
                session,
                step.workspace,
                step.key,
                self._call,
                self._mark,
                reply.model_dump(mode="json", exclude={"stored"}),
            )


async def _unless_away(what: str, writing: Any) -> None:
    """Write to the books after a call; where the database went away meanwhile the call stands.

    The reservation then goes on to count: too much rather than too little.
    """
    try:
        await writing
    except (SojournError, SQLAlchemyError, OSError) as error:
        _logger.warning("%s of a model is not in the books: %r", what, error)


def _without_price(endpoint: Endpoint) -> ActionError:
    name = f"{endpoint.provider}:{endpoint.model}"
    return ActionError(
        f"a budget in USD applies, and {name} has no known price",
        code=ErrorCode.LIMIT_EXCEEDED,
        retryable=False,
        hint=f"name its price in SOJOURN_AI_PRICES, or set the budget in tokens: {name}",
    )


def _spent(scope: str, limit: Allowance, row: AiUsage) -> ActionError:
    """Say whose budget lacks room: a run's is final, a workspace's begins anew at midnight UTC."""
    own = scope == ai_ledger.run_scope(row.budget_run_id)
    above = next((id for id in row.budget_above or [] if scope == ai_ledger.run_scope(id)), None)
    of_run = own or above is not None
    details = {
        "budget": "run" if of_run else "workspace",
        "usd": None if limit.usd is None else str(limit.usd),
        "tokens": limit.tokens,
        **({} if above is None else {"run_id": above}),
        "estimate_usd": str(row.held_cost),
        "estimate_tokens": row.held_tokens,
    }
    whose = "the run's AI budget" if own else "the workspace's AI budget for today"
    if above is not None:
        whose = "the AI budget of a run above this one"
    message = f"{whose} has no room for this call, which may take {row.held_tokens:,} tokens"
    if row.price_known:
        message += f" and {row.held_cost:.6f} USD"
    if of_run:
        return ActionError(
            message,
            code=ErrorCode.LIMIT_EXCEEDED,
            retryable=False,
            hint="raise the definition's limits.ai_budget or ai_tokens, or lower 'max_tokens'",
            details=details,
        )
    present = datetime.now(UTC)
    midnight = datetime(present.year, present.month, present.day, tzinfo=UTC) + timedelta(days=1)
    return ActionError(
        message,
        code=ErrorCode.RATE_LIMITED,
        retry_after=(midnight - present).total_seconds(),
        hint="raise the budget: PUT /api/v1/ai/budget",
        details=details,
    )


def _together(faults: list[tuple[str, ActionError]]) -> ActionError:
    """Make one error of all models' faults; another attempt helps if it helps any of them."""
    if len(faults) == 1:
        return faults[0][1]
    waits = [error.retry_after or 0.0 for _, error in faults if error.retryable]
    said = "; ".join(f"{model}: {error.message}" for model, error in faults)
    return ActionError(
        f"no model answered: {said}",
        code=faults[-1][1].code,
        retryable=bool(waits),
        retry_after=min(waits) if waits and min(waits) > 0 else None,
        details={
            "models": [
                {**error.details, "model": model, "code": str(error.code)}
                for model, error in faults
            ]
        },
    )
