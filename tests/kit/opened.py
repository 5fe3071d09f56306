"""Functions that an operator opens to definitions, for tests."""

import asyncio
import os
import threading
import time
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from activities.errors import ActionError
from activities.functions import expose
from schemas.actions import StepContext
from schemas.errors import ErrorCode

started = threading.Event()


class Line(BaseModel):
    """One line of an order."""

    name: str
    price: Annotated[float, Field(ge=0)]
    count: int = 1


class Total(BaseModel):
    """What an order costs."""

    net: float
    due: date


@expose
async def total(lines: list[Line], due: date, currency: Literal["EUR", "USD"] = "EUR") -> Total:
    """Add up an order.

    What follows is not the summary.
    """
    assert currency
    return Total(net=sum(line.price * line.count for line in lines), due=due)


@expose
def slow(seconds: float) -> str:
    """Take time in a thread."""
    started.set()
    time.sleep(seconds)
    return threading.current_thread().name


@expose(isolated=True)
def spins(seconds: float, say: str = "") -> list[str]:
    """Keep the processor busy; a thread could not be stopped."""
    print(say)  # noqa: T201 - what is printed must not spoil the answer
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    if say == "raise":
        raise ActionError("never again", code=ErrorCode.CONFLICT, retryable=False)
    return [say, str(os.getpid())]


@expose
def large(size: int) -> str:
    """Give a text of so many letters."""
    return "x" * size


@expose
async def never() -> None:
    """Never come to an end."""
    await asyncio.Event().wait()


@expose
def key(step: StepContext, suffix: str = "") -> str:
    """Give the step's key."""
    return step.key + suffix


@expose
def breaks(how: str) -> int:
    """Fail in one way or another."""
    if how == "value":
        raise ValueError("so it goes")
    if how == "final":
        raise ActionError("never again", code=ErrorCode.CONFLICT, retryable=False)
    return "no number"  # pyright: ignore[reportReturnType]


def hidden() -> int:
    """Not open to definitions."""
    return 1
