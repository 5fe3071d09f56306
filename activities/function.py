"""The `function` action: a Python function of the operator's own, by reference."""

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from schemas.errors import ErrorCode
from schemas.run import MAX_OUTPUT_BYTES

MAX_RESULT_BYTES = 10 * 1024 * 1024
MAX_KEPT_BYTES = MAX_OUTPUT_BYTES - 1024


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
    """What the function gave; above 255 KiB the reference of an artifact."""

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
        functions.left_behind()
        raise ActionError(
            f"{params.function} was not done within {context.budget:g} s",
            code=ErrorCode.STEP_TIMEOUT,
        ) from error
    if len(written := to_json(result)) > MAX_KEPT_BYTES:
        _check_size(len(written))
        kept = await context.keep(written, "application/json")
        result = result if kept is None else kept
    return FunctionResult(result=result)


def _check_size(size: int) -> None:
    if size > MAX_RESULT_BYTES:
        raise ActionError(
            f"the result has {size:,} bytes; an artifact has at most {MAX_RESULT_BYTES:,}",
            code=ErrorCode.LIMIT_EXCEEDED,
            retryable=False,
            details={"bytes": size, "limit": MAX_RESULT_BYTES},
        )
