"""One request to a language model through pydantic-ai.

Only `activities.ai` imports this module, and only when a step asks a model: pydantic-ai and the
vendors' SDKs take seconds to import.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent, StructuredDict
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelServerError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from activities.errors import ActionError
from activities.services import AiConfig
from schemas.errors import ErrorCode

_OPENAI_URL = "https://api.openai.com/v1"
_ANTHROPIC_URL = "https://api.anthropic.com"
_TRANSIENT = (
    ModelConnectionError,
    ModelOverloadedError,
    ModelRateLimitError,
    ModelServerError,
    ModelUnavailableError,
)
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, and what it cost in tokens."""

    output: Any
    model: str
    requests: int
    input_tokens: int
    output_tokens: int


async def ask(
    config: AiConfig,
    client: httpx2.AsyncClient,
    *,
    provider: str,
    model: str,
    turns: Sequence[tuple[str, str]],
    system: str | None,
    schema: dict[str, Any] | None,
    temperature: float | None,
    max_tokens: int | None,
    seconds: float,
) -> Answer:
    """Ask a model once; with `schema` (of an object) the output is a dict, else a text.

    `turns` are (user or assistant, content); the last is the user's. Raises ActionError
    AI_UNAVAILABLE (retryable where waiting can help), AI_INVALID_OUTPUT for an answer of the
    wrong shape, INVALID_INPUT for a request that the provider refuses.
    """
    # The caller's own deadline comes first and names itself; this one stops a stray request.
    settings = ModelSettings(timeout=seconds + 5)
    if temperature is not None:
        settings["temperature"] = temperature
    if max_tokens is not None:
        settings["max_tokens"] = max_tokens
    agent: Agent[None, Any] = Agent(
        _model(config, client, provider, model),
        output_type=str if schema is None else StructuredDict(schema),
        instructions=system,
        # Temporal retries, with the run's own policy; nothing below it does.
        retries={"tools": 0, "output": 0},
        model_settings=settings,
    )
    history: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart(content)])
        if role == "user"
        else ModelResponse(parts=[TextPart(content)])
        for role, content in turns[:-1]
    ]
    try:
        result = await agent.run(turns[-1][1], message_history=history, infer_name=False)
    except ModelAPIError as error:
        raise _unavailable(provider, model, error) from error
    except UnexpectedModelBehavior as error:
        raise ActionError(
            f"{model} gave no usable output: {error.message}",
            code=ErrorCode.AI_INVALID_OUTPUT,
        ) from error
    except UserError as error:
        raise ActionError(
            f"the request to {model} is wrong: {error.message}",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
        ) from error
    usage = result.usage
    return Answer(
        output=result.output,
        model=result.response.model_name or model,
        requests=usage.requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )


def _model(config: AiConfig, client: httpx2.AsyncClient, provider: str, model: str) -> Model:
    if provider == "openai":
        _check_key(provider, config.openai_api_key, config.openai_base_url)
        return OpenAIChatModel(
            model,
            provider=OpenAIProvider(
                openai_client=AsyncOpenAI(
                    # Servers of one's own often want no key, but the SDK insists on one.
                    api_key=config.openai_api_key or "no-key",
                    base_url=config.openai_base_url or _OPENAI_URL,
                    max_retries=0,
                    http_client=client,
                )
            ),
        )
    if provider == "anthropic":
        _check_key(provider, config.anthropic_api_key, config.anthropic_base_url)
        return AnthropicModel(
            model,
            provider=AnthropicProvider(
                anthropic_client=AsyncAnthropic(
                    api_key=config.anthropic_api_key or "no-key",
                    base_url=config.anthropic_base_url or _ANTHROPIC_URL,
                    max_retries=0,
                    http_client=client,
                )
            ),
        )
    raise ActionError(
        f"no AI provider is named {provider!r}",
        code=ErrorCode.INVALID_INPUT,
        retryable=False,
        hint="use openai (or any server that speaks its protocol) or anthropic",
    )


def _check_key(provider: str, key: str | None, base_url: str | None) -> None:
    if not key and not base_url:
        name = provider.upper()
        raise ActionError(
            f"the AI provider {provider} is not configured",
            code=ErrorCode.AI_UNAVAILABLE,
            retryable=False,
            hint=f"set SOJOURN_AI_{name}_API_KEY, or SOJOURN_AI_{name}_BASE_URL for a server"
            " of your own",
        )


def _unavailable(provider: str, model: str, error: ModelAPIError) -> ActionError:
    cause: BaseException | None = error
    while cause is not None:
        # The guard's refusal comes wrapped by the SDK as a lost connection.
        if isinstance(cause, ActionError):
            return cause
        cause = cause.__cause__
    status = error.status_code if isinstance(error, ModelHTTPError) else None
    details = {"provider": provider, "model": model}
    if status is None:
        return ActionError(
            f"{provider} cannot be reached: {error.message}",
            code=ErrorCode.AI_UNAVAILABLE,
            retryable=isinstance(error, _TRANSIENT),
            details=details,
        )
    exhausted = isinstance(error, ModelQuotaExceededError)
    transient = not exhausted and (
        isinstance(error, _TRANSIENT) or status >= 500 or status in _TRANSIENT_STATUSES
    )
    ours = status in (400, 404, 413, 422)
    hint = None
    if status in (401, 403):
        hint = f"check SOJOURN_AI_{provider.upper()}_API_KEY"
    elif exhausted:
        hint = "the account's quota is used up; waiting does not help"
    return ActionError(
        f"{provider} answered {status} for {model}: {_said(error.body)}",
        code=ErrorCode.INVALID_INPUT if ours else ErrorCode.AI_UNAVAILABLE,
        retryable=transient,
        retry_after=error.retry_after if transient else None,
        hint=hint,
        details={**details, "status": status},
    )


def _said(body: object) -> str:
    """Give the provider's own words from an error body, shortened."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return inner["message"][:500]
    return str(body)[:200]
