"""The `code` action: a Python program in a sandbox, from JSON to JSON."""

import asyncio
import keyword
import math
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from activities._sandbox import Limits, ProgramError, find_syntax_fault
from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from schemas.actions import ParameterFault
from schemas.durations import Duration
from schemas.errors import ErrorCode
from schemas.run import MAX_OUTPUT_BYTES

MAX_SOURCE_BYTES = 64 * 1024
MAX_DEPTH = 64
_MIB = 1024 * 1024
_EXPRESSION = "{{"
# Every value has two bytes of JSON at least, with its comma.
_MAX_VALUES = MAX_OUTPUT_BYTES // 2


class CodeParams(BaseModel):
    """Parameters of `code`."""

    model_config = ConfigDict(extra="forbid", title="code")

    source: str = Field(
        min_length=1,
        max_length=MAX_SOURCE_BYTES,
        description="Python; its last expression, or a top-level `return`, is the result. Written"
        " out, or one whole expression: values come through `inputs`",
        examples=["sum(item['price'] for item in items)"],
    )
    inputs: dict[str, Any] = Field(
        default_factory=dict, description="JSON values, by the names they have in the program"
    )
    time_limit: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(seconds=30))] = Field(
        default=timedelta(seconds=5), description="of running, at most 30 s"
    )
    memory_mib: Annotated[int, Field(ge=8, le=256)] = Field(
        default=64, description="of the program's values"
    )

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str:
        if len(value.encode("utf-8", "replace")) > MAX_SOURCE_BYTES:
            raise ValueError(f"the program is larger than {MAX_SOURCE_BYTES:,} bytes")
        return value

    @field_validator("inputs")
    @classmethod
    def _inputs(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
                raise ValueError(f"{name[:64]!r} is no name for a variable")
        return value


class CodeResult(BaseModel):
    """What a program gave."""

    result: Any = Field(default=None, description="the last expression's value, as JSON")
    logs: list[str] = Field(
        default_factory=list, description="the lines that it printed, at most 64 KiB of them"
    )


def find_faults(params: Mapping[str, Any]) -> Iterator[ParameterFault]:
    """Judge a program that is written out, without running it."""
    source = params.get("source")
    if not isinstance(source, str):
        return
    if _EXPRESSION in source:
        text = source.strip()
        if not (text.startswith(_EXPRESSION) and text.count(_EXPRESSION) == 1):
            yield ParameterFault(
                "source",
                "a program holds no {{ }}: what is put into its text would be run",
                "name the value in 'inputs' and use that name",
            )
        return
    fault = find_syntax_fault(source)
    if fault is not None:
        where = "" if fault.line is None else f"line {fault.line}: "
        yield ParameterFault("source", f"{where}{fault.message}", None)


@action("code", timeout=timedelta(seconds=60), cancellable=True, check=find_faults)
async def code(params: CodeParams, context: ActionContext) -> CodeResult:
    """Run a Python program in a sandbox: no files, no network, bounded time and memory.

    Raises CODE_ERROR with the line (final, except for a lost process), FORBIDDEN where the
    operator has switched code off, LIMIT_EXCEEDED for a result too large, STEP_TIMEOUT.
    """
    if not context.services.code_enabled:
        raise ActionError(
            "code steps are switched off here",
            code=ErrorCode.FORBIDDEN,
            retryable=False,
            hint="the operator's setting is SOJOURN_CODE_ENABLED",
        )
    limits = Limits(params.time_limit, params.memory_mib * _MIB)
    try:
        async with asyncio.timeout(context.budget):
            ran = await context.services.sandbox.run(params.source, params.inputs, limits)
    except TimeoutError as error:
        raise ActionError(
            f"the program was not done within {context.budget:g} s, its wait for a process"
            " included",
            code=ErrorCode.STEP_TIMEOUT,
        ) from error
    except ProgramError as error:
        context.printed(*error.lines)
        raise
    context.printed(*ran.lines)
    return CodeResult(result=as_json(ran.value), logs=ran.lines)


def as_json(value: Any) -> Any:
    """Turn a program's value into JSON; raises ActionError CODE_ERROR for what has no such form.

    Values may share parts many times over: a few bytes in the sandbox can stand for gigabytes of
    JSON, so that what is written out is counted.
    """
    return _Writer().write(value, 0)


class _Writer:
    def __init__(self) -> None:
        self._values = _MAX_VALUES
        self._letters = MAX_OUTPUT_BYTES

    def _take(self, values: int = 0, letters: int = 0) -> None:
        self._values -= values
        self._letters -= letters
        if self._values < 0 or self._letters < 0:
            raise ActionError(
                f"the result is larger than the {MAX_OUTPUT_BYTES:,} bytes that a step keeps",
                code=ErrorCode.LIMIT_EXCEEDED,
                retryable=False,
                details={"limit": MAX_OUTPUT_BYTES},
            )

    def write(self, value: Any, depth: int) -> Any:
        self._take(1)
        if depth > MAX_DEPTH:
            raise _no_json(f"it is nested deeper than {MAX_DEPTH} levels")
        match value:
            case None | bool():
                return value
            case str():
                return self._text(value)
            case int() | float():
                return _number(value)
            case date():
                return value.isoformat()
            case list() | tuple():
                return [self.write(item, depth + 1) for item in value]
            case dict():
                return {self._key(key): self.write(item, depth + 1) for key, item in value.items()}
            case _:
                raise _no_json(f"{type(value).__name__} is no JSON value")

    def _text(self, value: str) -> str:
        self._take(letters=len(value))
        if "\x00" in value:
            raise _no_json("a text holds a NUL character")
        return value

    def _key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise _no_json(f"a dict's key is {type(key).__name__}, not a text")
        return self._text(key)


def _number(value: float) -> float:
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise _no_json("an integer does not fit into 64 bits")
    elif not math.isfinite(value):
        raise _no_json(f"{value} is no JSON number")
    return value


def _no_json(why: str) -> ActionError:
    return ActionError(f"the result is not JSON: {why}", code=ErrorCode.CODE_ERROR, retryable=False)
