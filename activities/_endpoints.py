"""Where a named model is reached: with the settings' keys, or with a stored connection."""

from typing import Final

from activities._questions import Choice, Endpoint
from activities.context import ActionContext
from activities.errors import ActionError
from activities.services import AiConfig
from schemas.errors import ErrorCode

PROVIDERS: Final = ("openai", "anthropic", "google")


async def resolve(choice: Choice, scope: ActionContext) -> Endpoint:
    """Give the endpoint of a model.

    Raises ActionError INVALID_INPUT for a model or connection that cannot be meant, and
    AI_UNAVAILABLE (not retryable) for a provider that is not configured.
    """
    if choice.connection is not None:
        return await _connected(choice.model, choice.connection, scope)
    provider, name = split(choice.model)
    return _configured(scope.services.ai, provider, name)


def split(model: str) -> tuple[str, str]:
    """Give provider and name of `provider:name`; raises ActionError INVALID_INPUT."""
    provider, colon, name = model.partition(":")
    if not colon or not name:
        raise _refused(
            f"model {model!r} names no provider",
            f"write openai:{model}, anthropic:{model} or google:{model}",
        )
    if provider not in PROVIDERS:
        raise _refused(
            f"no AI provider is named {provider!r}",
            "use openai (or any server that speaks its protocol), anthropic or google",
        )
    return provider, name


def _configured(config: AiConfig, provider: str, name: str) -> Endpoint:
    base_url, key = config.access(provider)
    if not key and not base_url:
        known = provider.upper()
        raise ActionError(
            f"the AI provider {provider} is not configured",
            code=ErrorCode.AI_UNAVAILABLE,
            retryable=False,
            hint=f"set SOJOURN_AI_{known}_API_KEY, or SOJOURN_AI_{known}_BASE_URL for a server"
            " of your own",
        )
    circuit = f"{provider} {base_url or 'api'}"
    return Endpoint(provider, name, circuit, base_url=base_url, api_key=key)


async def _connected(model: str, connection: str, scope: ActionContext) -> Endpoint:
    workspace = scope.step.workspace
    found = await scope.services.vault.connection(workspace, connection, *PROVIDERS)
    provider, colon, name = model.partition(":")
    if colon and provider in PROVIDERS:
        if provider != found.kind:
            raise _refused(
                f"the connection {connection!r} is of kind {found.kind}, and the model of"
                f" {provider}",
                f"name a model of {found.kind}, or another connection",
            )
        model = name
    return Endpoint(
        provider=found.kind,
        model=model,
        circuit=f"connection {connection}",
        workspace=workspace,
        base_url=found.config.get("base_url"),
        api_key=found.secrets.get("api_key"),
        organization=found.config.get("organization"),
        project=found.config.get("project"),
    )


def _refused(message: str, hint: str) -> ActionError:
    return ActionError(message, code=ErrorCode.INVALID_INPUT, retryable=False, hint=hint)
