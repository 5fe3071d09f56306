"""The `function` action: a Python function of the operator's own, by reference."""

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from schemas.errors import ErrorCode


class FunctionParams(BaseModel):
    """Parameters of `function`."""

    model_config = ConfigDict(extra="forbid", title="function")

    function: str = Field(
        min_length=1,
        max_length=200,
        description="`module:name` of a function that the operator has opened; they are listed"
        " by GET /actions/functions",
        examples=["billing.tax:vat"],
    )
    args: dict[str, Any] = Field(default_factory=dict, description="its arguments by name")


class FunctionResult(BaseModel):
    """What the function gave."""

    result: Any = None


@action("function", cancellable=True)
async def function(params: FunctionParams, context: ActionContext) -> FunctionResult:
    """Call a Python function that the operator has opened to definitions.

    Raises FORBIDDEN for any other function, INVALID_INPUT for arguments that do not fit its
    types, STEP_FAILED (retryable) for what it raises, STEP_TIMEOUT.
    """
    functions = context.services.functions
    found = functions.get(context.step.workspace, params.function)
    try:
        async with asyncio.timeout(context.budget):
            result = await found.call(params.args, context.step, functions.threads)
    except TimeoutError as error:
        raise ActionError(
            f"{params.function} was not done within {context.budget:g} s",
            code=ErrorCode.STEP_TIMEOUT,
        ) from error
    return FunctionResult(result=result)
