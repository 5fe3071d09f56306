"""Actions for tests of the interpreter: they echo, fail or hold on demand."""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from activities.context import ActionContext
from activities.errors import ActionError, NotYetError
from activities.registry import Registry, action, load


class ProbeParams(BaseModel):
    """What a probe does: gives `value`; fails with `code` in the first `failures` attempts.

    With `turn` its turn comes so many seconds after the first call, or after `turn_after` more.
    """

    model_config = ConfigDict(extra="forbid")

    value: Any = None
    failures: int = 0
    code: str = "STEP_FAILED"
    retryable: bool = True
    hold: bool = False
    size: int = 0
    turn: float | None = None
    turn_after: int = 0


class ProbeResult(BaseModel):
    """What a probe gives back."""

    value: Any = None


calls: list[tuple[str, str]] = []
holding: dict[str, asyncio.Event] = {}


@action("probe", timeout=timedelta(seconds=20), cancellable=True)
async def probe(params: ProbeParams, context: ActionContext) -> ProbeResult:
    """Echo, fail or hold."""
    key = context.step.key
    calls.append((context.step.run_id, context.step.path))
    if params.turn is not None and calls.count(calls[-1]) == 1 + params.turn_after:
        raise NotYetError("not yet", seconds=params.turn)
    if params.hold:
        holding.setdefault(key, asyncio.Event()).set()
        await asyncio.Event().wait()
    if context.attempt <= params.failures:
        raise ActionError("the probe fails", code=params.code, retryable=params.retryable)
    return ProbeResult(value="x" * params.size if params.size else params.value)


def registry() -> Registry:
    """Give the product's actions and the probes."""
    product = load()
    return Registry([*(product.get(name) for name in product.specs()), probe.__sojourn_action__])  # pyright: ignore[reportFunctionMemberAccess]
