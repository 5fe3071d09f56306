"""The `agent_turn` activity: one turn of an agent's model, with the tools that it may call."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from activities import _structured as structured
from activities._endpoints import resolve
from activities._questions import Question, Reply, Tool
from activities._turns import forget, load_backend, take_turn
from activities.ai import AiParams, AiUsage, choices
from activities.context import ActionContext
from activities.errors import ActionError
from activities.execution import execute
from activities.registry import Action
from activities.services import Services
from schemas.errors import ErrorCode, Problem
from schemas.keeping import Keep
from schemas.markers import disarmed, holds_markers


class ToolSpec(BaseModel):
    """A tool as the model is told of it."""

    name: str
    description: str
    parameters: dict[str, Any]


class Left(BaseModel):
    """What is left of the agent's own budget."""

    tokens: int | None = None
    usd: float | None = None


class TurnParams(BaseModel):
    """What one turn is told; `messages` are those after the question's own."""

    model_config = ConfigDict(extra="forbid")

    question: AiParams
    messages: list[dict[str, Any]] = Field(default_factory=list)
    tools: list[ToolSpec] = Field(default_factory=list)
    left: Left | None = None


class TurnCall(BaseModel):
    """A call that the model asks for; `arguments` is null where they are no JSON object."""

    id: str
    name: str
    arguments: dict[str, Any] | None = None


class TurnResult(BaseModel):
    """What came of a turn: calls, or without any the answer."""

    said: list[dict[str, Any]]
    calls: list[TurnCall] = Field(default_factory=list)
    output: Any = None
    text: str | None = None
    model: str
    provider: str
    usage: AiUsage


def build(services: Services) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name=TURN.name)
    async def agent_turn(params: Any, context: Any) -> Any:
        # What tools and models said was never rendered: a marker in it would be made a secret,
        # and told to the model.
        told = disarmed(params) if holds_markers(params) else params
        return await execute(TURN, services, told, context)

    return [agent_turn]


async def take(params: TurnParams, context: ActionContext) -> TurnResult:
    """Ask the model for its next step; an answer that does not fit the schema is sent back once.

    Raises as `ai` does, and LIMIT_EXCEEDED (final) before a call that the agent's own budget has
    no room for.
    """
    deadline = asyncio.get_running_loop().time() + context.budget
    question = await _within(_question(params, context), params.left, context)
    schema = params.question.output
    replies = [await take_turn(question, context, deadline=deadline)]
    said = [replies[0].said()]
    found = _answer(schema, replies[0])
    if isinstance(found, list):
        told = structured.correction(replies[0], found)
        again = question.followed(replies[0].said(), *told)
        replies.append(await take_turn(again, context, deadline=deadline, call=1, repair=True))
        said += [*told, replies[1].said()]
        mask = None if context.services.ai_keep is Keep.FULL else "the value"
        found = _answer(schema, replies[1], mask)
    last = replies[-1]
    if isinstance(found, list):
        await forget(context)
        raise ActionError(
            f"the answer of {last.model} does not fit the schema, and the second one neither:"
            f" {found[0].path}: {found[0].message}",
            code=ErrorCode.AI_INVALID_OUTPUT,
            retryable=False,
            problems=found,
        )
    done = found is not None
    calls = [] if done else [TurnCall.model_validate(call.model_dump()) for call in last.calls]
    return TurnResult(
        said=said,
        calls=calls,
        output=found.value if found is not None else None,
        text=last.text if done and schema is None else None,
        model=last.model,
        provider=last.provider,
        usage=_usage(replies),
    )


def _answer(
    schema: dict[str, Any] | None, reply: Reply, mask: str | None = None
) -> structured.Fit | list[Problem] | None:
    """Give the final answer, or what is wrong with it; None where the model calls tools."""
    if reply.calls and reply.output is None:
        return None
    if schema is None:
        return structured.Fit(reply.text)
    return structured.read(schema, reply, mask=mask)


def _question(params: TurnParams, context: ActionContext) -> Question:
    asked = params.question
    messages = [message.model_dump() for message in asked.messages or []]
    if asked.prompt is not None:
        messages = [{"role": "user", "content": asked.prompt}]
    told = [asked.system] if asked.system else []
    told += [message["content"] for message in messages if message["role"] == "system"]
    first = [message for message in messages if message["role"] != "system"]
    return Question(
        choices=choices(
            asked.model or context.services.ai.default_model,
            asked.provider,
            asked.connection,
            asked.fallback,
        ),
        messages=[*first, *params.messages],
        system="\n\n".join(told) or None,
        schema=None if asked.output is None else structured.object_schema(asked.output),
        tools=tuple(
            Tool(tool.name, tool.description, {"type": "object", **tool.parameters})
            for tool in params.tools
        ),
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
    )


async def _within(question: Question, left: Left | None, context: ActionContext) -> Question:
    """Refuse a call that may take more than is left, by the dearest model that may be asked."""
    if left is None:
        return question
    prices, config = (await load_backend()).prices, context.services.ai
    longest = question.max_tokens or config.max_tokens
    given = prices.input_estimate(question)
    if left.tokens is not None:
        longest = min(longest, left.tokens - given)
        if longest < 1:
            raise _spent(f"{left.tokens:,} tokens are left, and the question alone has {given:,}")
    if left.usd is not None:
        for choice in question.choices:
            endpoint = await resolve(choice, context)
            price = prices.estimate(config.prices, endpoint, (given, longest))
            if price is None:
                raise _spent(f"{choice.model} has no known price, and the budget is in USD")
            if price > Decimal(str(left.usd)):
                raise _spent(f"{left.usd:.6f} USD are left, and the call may cost {price:.6f}")
    return replace(question, max_tokens=longest)


def _spent(why: str) -> ActionError:
    return ActionError(
        f"the agent's budget has no room for another turn: {why}",
        code=ErrorCode.LIMIT_EXCEEDED,
        retryable=False,
        hint="raise the step's 'budget', or lower 'max_tokens'",
    )


def _usage(replies: list[Reply]) -> AiUsage:
    costs = [reply.cost for reply in replies]
    known = [cost for cost in costs if cost is not None]
    return AiUsage(
        input_tokens=sum(reply.input_tokens for reply in replies),
        output_tokens=sum(reply.output_tokens for reply in replies),
        requests=sum(not reply.cached for reply in replies),
        cost_usd=float(sum(known)) if len(known) == len(costs) else None,
    )


# Not marked with @action: a definition names `agent`, whose turns the interpreter asks for.
TURN = Action(
    name="agent_turn",
    summary="One turn of an agent's model.",
    function=take,
    params=TurnParams,
    result=TurnResult,
    timeout=timedelta(seconds=60),
    cancellable=True,
)
