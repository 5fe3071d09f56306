"""The `ai` action: one question to a language model, with a checked answer."""

import asyncio
import importlib
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from schemas.errors import ErrorCode, Problem

if TYPE_CHECKING:
    from activities import _models

_WRAPPED = "value"


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class AiParams(BaseModel):
    """Parameters of `ai`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, title="ai")

    model: str | None = Field(
        default=None,
        max_length=200,
        description="`provider:name`, or a name with `provider` beside it; the operator may set"
        " a default",
        examples=["openai:gpt-5-mini", "anthropic:claude-haiku-4-5"],
    )
    provider: Literal["openai", "anthropic"] | None = Field(
        default=None, description="openai stands for every server that speaks its protocol"
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

    @field_validator("output")
    @classmethod
    def _schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                _validator(value)
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
    """What an answer cost."""

    input_tokens: int
    output_tokens: int
    requests: int


class AiResult(BaseModel):
    """The answer: `output` fits the schema, or is the same as `text` without one."""

    output: Any
    text: str | None = Field(default=None, description="the answer, when no schema was given")
    model: str = Field(description="the model that answered, in the provider's words")
    usage: AiUsage


@action("ai", timeout=timedelta(seconds=10), cancellable=True)
async def ai(params: AiParams, context: ActionContext) -> AiResult:
    """Ask a language model, and check its answer against a JSON Schema.

    Raises AI_UNAVAILABLE (retryable for 429, 5xx and lost connections), AI_INVALID_OUTPUT for an
    answer that does not fit the schema, INVALID_INPUT for a request the provider refuses,
    STEP_TIMEOUT. The model's words are data: never a definition, never an expression.
    """
    provider, model = _choose(params, context.services.ai.default_model)
    schema = None if params.output is None else _object_schema(params.output)
    system, turns = _conversation(params)
    try:
        async with asyncio.timeout(context.budget):
            backend = await _backend()
            answer: _models.Answer = await backend.ask(
                context.services.ai,
                context.services.ai_http,
                provider=provider,
                model=model,
                turns=turns,
                system=system,
                schema=schema,
                temperature=params.temperature,
                max_tokens=params.max_tokens,
                seconds=context.budget,
            )
    except TimeoutError as error:
        raise ActionError(
            f"{model} did not answer within {context.budget:g} s",
            code=ErrorCode.STEP_TIMEOUT,
            hint="give the step a longer 'timeout'",
        ) from error
    output = answer.output
    if params.output is not None:
        output = _checked(params.output, schema, output, model)
    return AiResult(
        output=output,
        text=output if params.output is None else None,
        model=answer.model,
        usage=AiUsage(
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            requests=answer.requests,
        ),
    )


async def preload() -> None:
    """Import the AI libraries in a thread (seconds of work), so that no first step waits for it.

    Does nothing where the extra `ai` is not installed.
    """
    try:
        await _backend()
    except ActionError:
        return


async def _backend() -> Any:
    """Import `_models` outside the event loop: it takes seconds, and heartbeats must go on."""
    try:
        return await asyncio.to_thread(importlib.import_module, "activities._models")
    except ImportError as error:
        raise ActionError(
            f"AI steps need the extra 'ai': {error.name} is not installed",
            code=ErrorCode.AI_UNAVAILABLE,
            retryable=False,
            hint="install sojourn[ai] on the workers",
        ) from error


def _choose(params: AiParams, default: str | None) -> tuple[str, str]:
    """Give provider and model name."""
    model = params.model or default
    if model is None:
        raise ActionError(
            "no model is named",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint="give 'model', for example openai:gpt-5-mini",
        )
    if params.provider is not None:
        return params.provider, model.removeprefix(f"{params.provider}:")
    provider, colon, name = model.partition(":")
    if not colon or not name:
        raise ActionError(
            f"model {model!r} names no provider",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint=f"write openai:{model} or anthropic:{model}",
        )
    return provider, name


def _conversation(params: AiParams) -> tuple[str | None, list[tuple[str, str]]]:
    """Give the instructions, and the other messages as (role, content)."""
    messages = params.messages or [Message(role="user", content=params.prompt or "")]
    told = [params.system] if params.system else []
    told += [message.content for message in messages if message.role == "system"]
    turns = [(message.role, message.content) for message in messages if message.role != "system"]
    return "\n\n".join(told) or None, turns


def _object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Give a schema of an object, as tools need: any other is wrapped as `{value: …}`."""
    if schema.get("type") == "object":
        return schema
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped = {"type": "object", "properties": {_WRAPPED: inner}, "required": [_WRAPPED]}
    return {**wrapped, "$defs": schema["$defs"]} if "$defs" in schema else wrapped


def _validator(schema: dict[str, Any]) -> Any:
    """Compile a schema that may reach nothing outside itself, with patterns of linear time."""
    return jsonschema_rs.validator_for(
        schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _checked(schema: dict[str, Any], sent: dict[str, Any] | None, output: Any, model: str) -> Any:
    if sent is not schema and isinstance(output, dict):
        output = output.get(_WRAPPED)
    faults = list(_validator(schema).iter_errors(output))
    if faults:
        problems = [
            Problem(
                code=ErrorCode.AI_INVALID_OUTPUT,
                path="output" + "".join(f"[{at!r}]" for at in fault.instance_path),
                message=fault.message,
            )
            for fault in faults[:10]
        ]
        raise ActionError(
            f"the answer of {model} does not fit the schema: {problems[0].path}:"
            f" {problems[0].message}",
            code=ErrorCode.AI_INVALID_OUTPUT,
            problems=problems,
        )
    return output
