"""The no-op that both sides run as an activity; the same models go in and out of both."""

from pydantic import BaseModel

from activities.context import ActionContext
from activities.registry import Registry, action, load


class NoopParams(BaseModel):
    """What goes in."""

    value: int


class NoopResult(BaseModel):
    """What comes out."""

    value: int


@action("noop")
async def noop(params: NoopParams, context: ActionContext) -> NoopResult:  # noqa: ARG001
    """Give back what came in."""
    return NoopResult(value=params.value)


def registry() -> Registry:
    """Give the product's actions and the no-op."""
    product = load()
    return Registry([*(product.get(name) for name in product.specs()), noop.__sojourn_action__])  # pyright: ignore[reportFunctionMemberAccess]
