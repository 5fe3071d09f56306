"""The `ai` action: one question to a language model, with a checked answer."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from activities import _structured as structured
from activities._endpoints import PROVIDERS
from activities._questions import Choice, Question, Reply
from activities._turns import forget, load_backend, remember, take_turn
from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from schemas.connections import CONNECTION_NAME
from schemas.durations import Duration
from schemas.errors import ErrorCode, Problem
from schemas.keeping import Keep

MAX_FALLBACKS = 5
Provider = Literal["openai", "anthropic", "google"]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]
ConnectionName = Annotated[str, Field(pattern=CONNECTION_NAME)]


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Fallback(BaseModel):
    """A model to ask when those before it are unavailable."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    connection: ConnectionName | None = None


class Cache(BaseModel):
    """How long other steps that ask the same may have the answer."""

    model_config = ConfigDict(extra="forbid")

    ttl: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=365))]


class AiParams(BaseModel):
    """Parameters of `ai`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, title="ai")

    model: ModelName | None = Field(
        default=None,
        description="`provider:name`, or a name with `provider` or `connection` beside it; the"
        " operator may set a default",
        examples=["openai:gpt-5-mini", "anthropic:claude-haiku-4-5", "google:gemini-2.5-flash"],
    )
    provider: Provider | None = Field(
        default=None, description="openai stands for every server that speaks its protocol"
    )
    connection: ConnectionName | None = Field(
        default=None,
        description="a stored connection of kind openai, anthropic or google, instead of the"
        " operator's keys",
    )
    fallback: Annotated[list[ModelName | Fallback], Field(max_length=MAX_FALLBACKS)] = Field(
        default_factory=list,
        description="models to ask in this order, inside the same attempt, when the ones before"
        " are unavailable; `{model, connection}` for one with a connection of its own",
    )
    prompt: str | None = Field(default=None, min_length=1, description="the question")
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="a conversation instead of `prompt`; the last one is the user's"
    )
    system: str | None = Field(default=None, description="instructions to the model")
    output: dict[str, Any] | None = Field(
        default=None,
        description="JSON Schema of the answer; without it the answer is text",
        examples=[{"type": "object", "properties": {"score": {"type": "integer"}}}],
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=200_000)] | None = None
    cache: Cache | None = Field(
        default=None, description="answer from the cache where the same was asked before"
    )

    @field_validator("output")
    @classmethod
    def _schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                structured.validator(value)
            except (jsonschema_rs.ValidationError, ValueError, TypeError) as error:
                message = getattr(error, "message", str(error))
                raise ValueError(f"not a usable JSON Schema: {message}") from error
        return value

    @model_validator(mode="after")
    def _question(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of 'prompt' and 'messages'")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return self


class AiUsage(BaseModel):
    """What an answer cost, a repair included; a cached one costs nothing."""

    input_tokens: int
    output_tokens: int
    requests: int
    cost_usd: float | None = Field(
        default=None, description="null where the model has no known price"
    )


class AiResult(BaseModel):
    """The answer: `output` fits the schema, or is the same as `text` without one."""

    output: Any
    text: str | None = Field(default=None, description="the answer, when no schema was given")
    model: str = Field(description="the model that answered, in the provider's words")
    provider: str
    cached: bool = False
    repaired: bool = Field(default=False, description="the first answer did not fit the schema")
    usage: AiUsage


@action("ai", timeout=timedelta(seconds=10), cancellable=True)
async def ai(params: AiParams, context: ActionContext) -> AiResult:
    """Ask a language model, and check its answer against a JSON Schema.

    An answer that does not fit is sent back once, with what is wrong with it. Raises
    AI_INVALID_OUTPUT (final) if it then still does not fit; AI_UNAVAILABLE (retryable for 429, 5xx
    and lost connections), CIRCUIT_OPEN, STEP_TIMEOUT when no model answers; LIMIT_EXCEEDED and
    RATE_LIMITED where a budget has no room, before the call; INVALID_INPUT for a request the
    provider refuses. The model's words are data: never a definition, never an expression.
    """
    deadline = asyncio.get_running_loop().time() + context.budget
    question = _question(params, context.services.ai.default_model)
    first = await take_turn(question, context, deadline=deadline)
    if params.output is None:
        await remember(question, first, context)
        return _result(first.text, first.text, [first])
    mask = None if context.services.ai_keep is Keep.FULL else "the value"
    found = structured.read(params.output, first)
    replies = [first]
    if isinstance(found, list):
        again = question.followed(first.said(), *structured.correction(first, found))
        second = await take_turn(again, context, deadline=deadline, call=1, repair=True)
        replies.append(second)
        found = structured.read(params.output, second, mask=mask)
    last = replies[-1]
    if isinstance(found, list):
        await forget(context)
        raise _invalid(last.model, found)
    last.repaired = last.repaired or len(replies) > 1
    await remember(question, last, context)
    return _result(found.value, None, replies)


async def preload() -> None:
    """Import the AI libraries in a thread (seconds of work), so that no first step waits for it.

    Does nothing where the extra `ai` is not installed.
    """
    try:
        await load_backend()
    except ActionError:
        return


def _question(params: AiParams, default: str | None) -> Question:
    messages = params.messages or [Message(role="user", content=params.prompt or "")]
    told = [params.system] if params.system else []
    told += [message.content for message in messages if message.role == "system"]
    return Question(
        choices=choices(
            params.model or default, params.provider, params.connection, params.fallback
        ),
        messages=[message.model_dump() for message in messages if message.role != "system"],
        system="\n\n".join(told) or None,
        schema=None if params.output is None else structured.object_schema(params.output),
        temperature=params.temperature,
        max_tokens=params.max_tokens,
        cache=None if params.cache is None else params.cache.ttl,
    )


def choices(
    model: str | None,
    provider: str | None,
    connection: str | None,
    fallback: list[str | Fallback],
) -> tuple[Choice, ...]:
    """Give the models to ask in order; raises ActionError INVALID_INPUT where none is named.

    A fallback without a provider is asked where the first one is.
    """
    if model is None:
        raise ActionError(
            "no model is named",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint="give 'model', for example openai:gpt-5-mini",
        )
    if provider is not None:
        model = f"{provider}:{model.removeprefix(f'{provider}:')}"
    found = [Choice(model, connection)]
    for other in fallback:
        if isinstance(other, Fallback):
            found.append(Choice(other.model, other.connection))
        elif other.partition(":")[0] in PROVIDERS:
            found.append(Choice(other))
        elif connection is not None:
            found.append(Choice(other, connection))
        else:
            found.append(Choice(f"{model.partition(':')[0]}:{other}"))
    return tuple(found)


def _result(output: Any, text: str | None, replies: list[Reply]) -> AiResult:
    last = replies[-1]
    costs = [reply.cost for reply in replies]
    known = [cost for cost in costs if cost is not None]
    return AiResult(
        output=output,
        text=text,
        model=last.model,
        provider=last.provider,
        cached=last.cached,
        repaired=last.repaired,
        usage=AiUsage(
            input_tokens=sum(reply.input_tokens for reply in replies),
            output_tokens=sum(reply.output_tokens for reply in replies),
            requests=sum(not reply.cached for reply in replies),
            cost_usd=float(sum(known)) if len(known) == len(costs) else None,
        ),
    )


def _invalid(model: str, problems: list[Problem]) -> ActionError:
    return ActionError(
        f"the answer of {model} does not fit the schema, and the second one neither:"
        f" {problems[0].path}: {problems[0].message}",
        code=ErrorCode.AI_INVALID_OUTPUT,
        retryable=False,
        problems=problems,
    )
