"""Operators' own Python functions: `@expose` marks one, `Functions` finds them in modules.

from activities.functions import expose

@expose
async def vat(country: str, net: float) -> float:
    "The VAT on a net amount."
"""

import asyncio
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError

from activities._isolated import run_isolated
from activities.errors import ActionError, invalid_input
from schemas.actions import ParameterFault, StepContext
from schemas.errors import ErrorCode, InputError, SojournError
from schemas.inputs import check_input

_MARK = "__sojourn_function__"
_EXPRESSION = "{{"
_MAX_MESSAGE = 500
_MAX_THREADS = 32
_MAX_HANGING = 256
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def expose(function: _F, /) -> _F: ...


@overload
def expose(*, isolated: bool) -> Callable[[_F], _F]: ...


def expose(function: Any = None, /, *, isolated: bool = False) -> Any:
    """Let definitions call a function; its annotations are its parameters' types.

    A parameter annotated `StepContext` is given the step, whose `key` is the same over all
    attempts. An `isolated` one runs in a process of its own, which is killed at the step's
    timeout: for code that may hang, since nothing can stop a thread. Raises TypeError for a
    parameter without a type, `*args` and `**kwargs`.
    """
    if function is None:
        return functools.partial(_expose, isolated=isolated)
    return _expose(function, isolated=isolated)


def _expose(function: _F, *, isolated: bool) -> _F:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    step_name: str | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in _KINDS or name not in hints:
            raise TypeError(
                f"{function.__qualname__}: the parameter {name!r} needs a name and type"
            )
        if hints[name] is StepContext:
            step_name = name
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (hints[name], default)
    model = create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    result = TypeAdapter(hints.get("return", Any))
    setattr(function, _MARK, (model, result, step_name, isolated))
    return function


@dataclass(frozen=True, slots=True)
class Exposed:
    """A function that definitions may call, by its reference `module:name`."""

    reference: str
    summary: str
    function: Callable[..., Any]
    model: type[BaseModel]
    answer: TypeAdapter[Any]
    step_name: str | None = None
    isolated: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema (of an object) of the arguments."""
        return self.model.model_json_schema(mode="validation")

    @property
    def result(self) -> dict[str, Any]:
        """The JSON Schema of what it gives."""
        return self.answer.json_schema(mode="serialization")

    async def call(self, given: Mapping[str, Any], step: StepContext, threads: Any) -> Any:
        """Check the arguments, call, and give the result as JSON values.

        One that is no coroutine runs in a thread, which nothing can stop: a timeout leaves it
        behind. Raises ActionError: INVALID_INPUT for the arguments, STEP_FAILED for what the
        function raises (its own SojournErrors as they are) and for a result that is not JSON.
        """
        try:
            parsed = self.model.model_validate(dict(given))
        except ValidationError as error:
            raise invalid_input(self.reference, error, "with.args") from error
        values = {name: getattr(parsed, name) for name in type(parsed).model_fields}
        if self.step_name is not None:
            values[self.step_name] = step
        call = functools.partial(self.function, **values)
        try:
            if self.isolated:
                return await run_isolated(self.reference, given, step)
            if inspect.iscoroutinefunction(self.function):
                value = await call()
            else:
                loop = asyncio.get_running_loop()
                value = await loop.run_in_executor(threads, copy_context().run, call)
        except (SojournError, TimeoutError):
            raise
        except Exception as error:
            raise ActionError(
                f"{self.reference} raised {type(error).__name__}: {str(error)[:_MAX_MESSAGE]}",
                details={"error": type(error).__name__},
            ) from error
        return self._as_json(value)

    def _as_json(self, value: Any) -> Any:
        try:
            return self.answer.dump_python(
                self.answer.validate_python(value), mode="json", by_alias=True
            )
        except (ValidationError, PydanticSerializationError, ValueError) as error:
            raise ActionError(
                f"what {self.reference} gave does not have the type that it names",
                retryable=False,
                details={"type": type(value).__name__},
            ) from error


class Functions:
    """Every function that definitions may call, by workspace."""

    def __init__(self, found: Mapping[str, tuple[Exposed, frozenset[str]]] | None = None) -> None:
        """Keep functions by reference, each with its workspaces; none named means all."""
        self._found = dict(found or {})
        self._hanging = 0

    @functools.cached_property
    def threads(self) -> ThreadPoolExecutor:
        """Where functions run that are no coroutines."""
        return ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="function")

    def left_behind(self) -> None:
        """Note that a call has not come back in time; its thread must not take a place for ever.

        After half of them new calls get new threads. Raises ActionError LIMIT_EXCEEDED where
        too many hang: this process cannot be helped but by a new start.
        """
        self._hanging += 1
        if self._hanging % (_MAX_THREADS // 2) == 0:
            threads = self.__dict__.pop("threads", None)
            if threads is not None:
                threads.shutdown(wait=False)
        if self._hanging > _MAX_HANGING:
            raise ActionError(
                f"{self._hanging} functions hang in this worker",
                code=ErrorCode.LIMIT_EXCEEDED,
                hint="expose what may hang with @expose(isolated=True), and start the worker anew",
            )

    @classmethod
    def load(cls, modules: Iterable[str]) -> "Functions":
        """Import modules, each `module` or `module@workspace`, and collect what they expose.

        A module may be named for several workspaces. Raises ImportError, ValueError for a name
        that is none, TypeError for a module that exposes nothing.
        """
        scopes: dict[str, set[str]] = {}
        for entry in modules:
            name, mark, workspace = entry.partition("@")
            if not all(part.isidentifier() for part in name.split(".")) or (mark and not workspace):
                raise ValueError(f"{entry!r} is not 'module' or 'module@workspace'")
            scopes.setdefault(name, set()).add(workspace)
        found: dict[str, tuple[Exposed, frozenset[str]]] = {}
        for name, workspaces in scopes.items():
            own = list(_exposed(name))
            if not own:
                raise TypeError(f"the module {name!r} holds no function marked with @expose")
            allowed = frozenset() if "" in workspaces else frozenset(workspaces)
            found.update({one.reference: (one, allowed) for one in own})
        return cls(found)

    def of(self, workspace: str) -> dict[str, Exposed]:
        """Give the functions of one workspace, by reference in order."""
        return {
            reference: one
            for reference, (one, allowed) in sorted(self._found.items())
            if not allowed or workspace in allowed
        }

    def get(self, workspace: str, reference: str) -> Exposed:
        """Give one function; raises ActionError FORBIDDEN where the workspace has none such."""
        known = self.of(workspace)
        if reference not in known:
            raise ActionError(
                f"the function {reference[:200]!r} is not open to definitions here",
                code=ErrorCode.FORBIDDEN,
                retryable=False,
                hint=_hint(reference, known),
            )
        return known[reference]

    def find_faults(self, workspace: str, params: Mapping[str, Any]) -> Iterator[ParameterFault]:
        """Judge the `with` of a function step before anything runs."""
        reference = params.get("function")
        if not isinstance(reference, str):
            return
        known = self.of(workspace)
        if _EXPRESSION in reference:
            yield ParameterFault("function", "a function is named as it is, without {{ }}")
        elif reference not in known:
            message = f"there is no function {reference!r}"
            yield ParameterFault("function", message, _hint(reference, known))
        elif isinstance(args := params.get("args", {}), dict):
            yield from argument_faults(known[reference].parameters, args)


def argument_faults(
    schema: Mapping[str, Any], args: Mapping[str, Any], place: str = "args"
) -> Iterator[ParameterFault]:
    """Check arguments against the schema of an object; what holds an expression is not judged."""
    properties = schema.get("properties", {})
    for name in args:
        if name not in properties:
            near = get_close_matches(name, properties, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(properties)}"
            yield ParameterFault(f"{place}.{name}", f"there is no parameter {name!r}", hint)
    for name in schema.get("required", []):
        if name not in args:
            yield ParameterFault(place, f"the parameter {name!r} is missing")
    shared = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    for name, value in args.items():
        if name not in properties or _EXPRESSION in str(value):
            continue
        try:
            check_input({**shared, **properties[name]}, value)
        except InputError as error:
            for problem in error.problems:
                yield ParameterFault(f"{place}.{name}", problem.message)


def _exposed(module: str) -> Iterator[Exposed]:
    for name, value in vars(importlib.import_module(module)).items():
        mark = getattr(value, _MARK, None)
        # One that was imported from elsewhere is that module's to open.
        if mark is None or not inspect.isfunction(value) or value.__module__ != module:
            continue
        model, answer, step_name, isolated = mark
        summary = (inspect.getdoc(value) or "").partition("\n")[0]
        yield Exposed(f"{module}:{name}", summary, value, model, answer, step_name, isolated)


def _hint(reference: str, known: Iterable[str]) -> str:
    near = get_close_matches(reference, list(known), 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return "the operator opens modules with SOJOURN_FUNCTION_MODULES; see GET /actions/functions"
