"""One request to a language model through pydantic-ai.

Only `activities._turns` imports this module, and only when a step asks a model: pydantic-ai and
the vendors' SDKs take seconds to import.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import (
    ContentFilterError,
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
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from activities import _prices as prices
from activities._google import google_client
from activities._questions import (
    OUTPUT_TOOL,
    Endpoint,
    ModelFault,
    Question,
    Reply,
    ToolCall,
)
from activities.errors import ActionError
from schemas.errors import ErrorCode

__all__ = ["prices", "request"]

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


async def request(
    endpoint: Endpoint, client: httpx2.AsyncClient, question: Question, seconds: float
) -> tuple[Reply, Any]:
    """Ask one model once; gives its reply, without the cost, and what it used, for the price.

    Raises ModelFault AI_UNAVAILABLE (retryable where waiting can help), AI_INVALID_OUTPUT where
    the provider withholds the answer, INVALID_INPUT for a request that it refuses; ActionError
    FORBIDDEN for an address that is closed.
    """
    # The caller's own deadline comes first and names itself; this one stops a stray request.
    settings = ModelSettings(timeout=seconds + 5)
    if question.temperature is not None:
        settings["temperature"] = question.temperature
    if question.max_tokens is not None:
        settings["max_tokens"] = question.max_tokens
    try:
        response = await model_request(
            _model(endpoint, client),
            _conversation(question.messages, question.system),
            model_settings=settings,
            model_request_parameters=_parameters(question),
        )
    except ModelAPIError as error:
        raise _unavailable(endpoint.provider, endpoint.model, error) from error
    except ContentFilterError as error:
        raise ModelFault(
            f"{endpoint.provider} withheld the answer of {endpoint.model}: {error.message}",
            code=ErrorCode.AI_INVALID_OUTPUT,
            retryable=False,
            in_doubt=True,
        ) from error
    except UnexpectedModelBehavior as error:
        raise ModelFault(
            f"{endpoint.model} gave no usable answer: {error.message[:500]}",
            code=ErrorCode.AI_UNAVAILABLE,
            down=True,
            in_doubt=True,
        ) from error
    except UserError as error:
        raise ModelFault(
            f"the request to {endpoint.model} is wrong: {error.message}",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
        ) from error
    return _reply(endpoint, response), response.usage


def _parameters(question: Question) -> ModelRequestParameters:
    tools = [
        ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=dict(tool.parameters),
        )
        for tool in question.tools
    ]
    if question.schema is None:
        return ModelRequestParameters(function_tools=tools)
    answer = ToolDefinition(
        name=OUTPUT_TOOL,
        description=str(question.schema.get("description", "The final result.")),
        parameters_json_schema=dict(question.schema),
        kind="output",
    )
    return ModelRequestParameters(
        function_tools=tools, output_tools=[answer], output_mode="tool", allow_text_output=False
    )


def _conversation(messages: Sequence[Mapping[str, Any]], system: str | None) -> list[ModelMessage]:
    """Turn our messages into pydantic-ai's; the system's words go along with the last request."""
    found: list[ModelMessage] = []
    for message in messages:
        role = message["role"]
        if role == "assistant":
            found.append(ModelResponse(parts=[TextPart(message["content"])]))
        elif role == "reply":
            found += ModelMessagesTypeAdapter.validate_python([message["message"]])
        else:
            part = UserPromptPart(message["content"]) if role == "user" else _returned(message)
            if found and isinstance(last := found[-1], ModelRequest):
                # One turn of ours: what came of several calls goes back together.
                found[-1] = ModelRequest(parts=[*last.parts, part])
            else:
                found.append(ModelRequest(parts=[part]))
    if isinstance(last := found[-1], ModelRequest):
        last.instructions = system
    return found


def _returned(message: Mapping[str, Any]) -> ToolReturnPart:
    return ToolReturnPart(
        tool_name=message["name"],
        content=message["content"],
        tool_call_id=message["id"],
        outcome="failed" if message.get("failed") else "success",
    )


def _reply(endpoint: Endpoint, response: ModelResponse) -> Reply:
    calls = [_call(part) for part in response.parts if isinstance(part, ToolCallPart)]
    (message,) = ModelMessagesTypeAdapter.dump_python([response], mode="json")
    return Reply(
        text="".join(part.content for part in response.parts if isinstance(part, TextPart)),
        output=next((call for call in calls if call.name == OUTPUT_TOOL), None),
        calls=[call for call in calls if call.name != OUTPUT_TOOL],
        message=message,
        provider=endpoint.provider,
        model=response.model_name or endpoint.model,
        asked=endpoint.model,
        circuit=endpoint.circuit,
        request_id=response.provider_response_id,
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
        complete=response.finish_reason != "length",
    )


def _call(part: ToolCallPart) -> ToolCall:
    try:
        arguments: dict[str, Any] | None = part.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        arguments = None
    return ToolCall(id=part.tool_call_id, name=part.tool_name, arguments=arguments)


def _model(endpoint: Endpoint, client: httpx2.AsyncClient) -> Model:
    # Servers of one's own often want no key, but the SDKs insist on one.
    key, url = endpoint.api_key or "no-key", endpoint.base_url
    if endpoint.provider == "openai":
        openai = AsyncOpenAI(
            api_key=key,
            base_url=url or _OPENAI_URL,
            organization=endpoint.organization,
            project=endpoint.project,
            max_retries=0,
            http_client=client,
        )
        return OpenAIChatModel(endpoint.model, provider=OpenAIProvider(openai_client=openai))
    if endpoint.provider == "anthropic":
        anthropic = AsyncAnthropic(
            api_key=key, base_url=url or _ANTHROPIC_URL, max_retries=0, http_client=client
        )
        return AnthropicModel(
            endpoint.model, provider=AnthropicProvider(anthropic_client=anthropic)
        )
    google = google_client(client, key, url)
    return GoogleModel(endpoint.model, provider=GoogleProvider(client=google))


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
        lost = isinstance(error, ModelConnectionError)
        return ModelFault(
            f"{provider} cannot be reached: {error.message}",
            code=ErrorCode.AI_UNAVAILABLE,
            retryable=isinstance(error, _TRANSIENT),
            details=details,
            down=lost,
            # A request that never left costs nothing.
            in_doubt=not (lost and error.phase in ("pool", "connect")),
        )
    exhausted = isinstance(error, ModelQuotaExceededError)
    transient = not exhausted and (
        isinstance(error, _TRANSIENT) or status >= 500 or status in _TRANSIENT_STATUSES
    )
    ours = status in (400, 404, 413, 422)
    hint = None
    if status in (401, 403):
        hint = f"check the key: SOJOURN_AI_{provider.upper()}_API_KEY, or the connection's"
    elif exhausted:
        hint = "the account's quota is used up; waiting does not help"
    return ModelFault(
        f"{provider} answered {status} for {model}: {_said(error.body)}",
        code=ErrorCode.INVALID_INPUT if ours else ErrorCode.AI_UNAVAILABLE,
        retryable=transient,
        retry_after=error.retry_after if transient else None,
        hint=hint,
        details={**details, "status": status},
        # A rate limit is kept by waiting; the provider is there all the same.
        down=status >= 500 or status == 408,
    )


def _said(body: object) -> str:
    """Give the provider's own words from an error body, shortened."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return inner["message"][:500]
    return str(body)[:200]
