"""The catalogue of actions: `@action` declares one, `load` finds all of them."""

import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError

import activities
from activities.context import ActionContext
from activities.errors import ActionError
from activities.services import Services
from db.deliveries import MARKED_SENT
from schemas.actions import ActionSpec, ParameterCheck
from schemas.errors import ErrorCode
from schemas.policies import DEFAULT_TIMEOUT
from schemas.steps import CONTROL_KINDS
from schemas.stretch import STRETCH, PlannedStep

__all__ = ["Action", "ActionError", "Registry", "action", "load"]

ENTRY_POINTS = "sojourn.actions"
INTERNAL = (
    "agent_turn",
    "verdict",
    "choose",
    "check",
    "assign",
    "opening",
    "record",
    "request_cancel",
    "subscribe",
    "open_run",
    "open_batch",
    "order_scheduled",
    "prune",
    STRETCH,
)
_MARK = "__sojourn_action__"

Ledger = Literal["common", "own"]
# Of a result that an operator stands in for.
_DELIVERY = {"const": MARKED_SENT, "description": "an operator has marked it as sent"}
ActionFunction = Callable[[Any, ActionContext], Awaitable[BaseModel]]
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Action:
    """One declared action: its name, models and the function that does the work."""

    name: str
    summary: str
    function: ActionFunction
    params: type[BaseModel]
    result: type[BaseModel]
    timeout: timedelta
    cancellable: bool
    check: ParameterCheck | None = None
    ledger: Ledger | None = None

    def spec(self) -> ActionSpec:
        """Give the catalogue entry, with JSON Schemas made from the models."""
        result = self.result.model_json_schema(by_alias=True, mode="serialization")
        if self.ledger is not None:
            result.setdefault("properties", {}).setdefault("delivery", _DELIVERY)
        return ActionSpec(
            name=self.name,
            summary=self.summary,
            params=self.params.model_json_schema(by_alias=True, mode="validation"),
            result=result,
            timeout=self.timeout,
            at_most_once=self.ledger is not None,
            check=self.check,
        )


def action(
    name: str,
    *,
    timeout: timedelta = DEFAULT_TIMEOUT,
    cancellable: bool = False,
    check: ParameterCheck | None = None,
    ledger: Ledger | None = None,
) -> Callable[[_F], _F]:
    """Declare `async def f(params: Params, context: ActionContext) -> Result` as an action.

    Both models give the JSON Schemas; the function's first docstring line is the summary.
    `timeout` is the default of one attempt, a `cancellable` one is
    cut off when the run is cancelled, any other comes to its end first. `check` judges a step's
    parameters when its definition is published, beyond their schema. With a `ledger` its steps may
    say `delivery: at_most_once`: `common` for the one that all share, where an ActionError's
    `in_doubt=False` tells that nothing has happened, `own` for an action with rows of its own.
    Raises TypeError for a function of another shape.
    """

    def declare(function: _F) -> _F:
        hints = get_type_hints(function)
        names = list(inspect.signature(function).parameters)
        models = [hints.get(names[0]) if names else None, hints.get("return")]
        if (
            len(names) != 2
            or not inspect.iscoroutinefunction(function)
            or not all(isinstance(model, type) and issubclass(model, BaseModel) for model in models)
        ):
            raise TypeError(
                f"action {name!r} must be 'async def f(params: Model, context: ActionContext)"
                " -> Model'"
            )
        declared = Action(
            name=name,
            summary=(inspect.getdoc(function) or name).splitlines()[0],
            function=function,
            params=hints[names[0]],
            result=hints["return"],
            timeout=timeout,
            cancellable=cancellable,
            check=check,
            ledger=ledger,
        )
        setattr(function, _MARK, declared)
        return function

    return declare


class Registry:
    """Every action known to this process; implements `schemas.actions.Catalogue`."""

    def __init__(
        self, actions: Iterable[Action], checks: Mapping[str, ParameterCheck] | None = None
    ) -> None:
        """Collect the actions; raises ValueError for a name that is taken.

        `checks` judge the parameters of actions, by name, beside what they say themselves.
        """
        checks = checks or {}
        self._actions: dict[str, Action] = {}
        for entry in sorted(actions, key=lambda entry: entry.name):
            taken = self._actions.get(entry.name)
            if taken is not None and taken.function is not entry.function:
                raise ValueError(f"two actions are named {entry.name!r}")
            if entry.name in CONTROL_KINDS or entry.name in INTERNAL:
                raise ValueError(f"{entry.name!r} is a word of the language, not free for actions")
            check = checks.get(entry.name, entry.check)
            self._actions[entry.name] = replace(entry, check=check)

    @cached_property
    def _specs(self) -> Mapping[str, ActionSpec]:
        return MappingProxyType({name: entry.spec() for name, entry in self._actions.items()})

    def specs(self) -> Mapping[str, ActionSpec]:
        """Action name to its catalogue entry, in the order of names."""
        return self._specs

    def get(self, name: str) -> Action:
        """Give one action; raises KeyError if there is none of that name."""
        return self._actions[name]

    def activities(self, services: Services) -> list[Callable[..., Any]]:
        """Give every Temporal activity of a worker: all actions, then the interpreter's own."""
        # Imported here: these modules use this one's types.
        from activities import (
            agent,
            bulk,
            conditions,
            control,
            pruning,
            records,
            scheduled,
            stretch,
            sub_runs,
            subscribing,
        )
        from activities.execution import attempt

        async def inline(step: PlannedStep, params: Any) -> Any:
            try:
                entry = self._actions[step.type]
            except KeyError:
                # As Temporal says it of an activity of its own; another worker may know it.
                raise ApplicationError(
                    f"the action {step.type!r} is not known here", type=ErrorCode.NOT_FOUND
                ) from None
            timeout = timedelta(seconds=step.timeout)
            return await attempt(entry, services, params, step.context, number=1, timeout=timeout)

        return [
            *(_activity(entry, services) for entry in self._actions.values()),
            *agent.build(services),
            *conditions.build(services),
            *records.build(services),
            *control.build(),
            *sub_runs.build(services),
            *subscribing.build(services),
            *scheduled.build(services),
            *pruning.build(services),
            *bulk.build(services, self),
            *stretch.build(inline),
        ]


def _activity(entry: Action, services: Services) -> Callable[..., Any]:
    from activities.execution import execute

    # Any, not dict: a wrongly typed argument must reach our validation. If the SDK refused it
    # while decoding, the server would retry the attempt without end.
    @activity.defn(name=entry.name)
    async def run(params: Any, context: Any) -> Any:
        return await execute(entry, services, params, context)

    return run


def load(checks: Mapping[str, ParameterCheck] | None = None) -> Registry:
    """Find all actions: this package's modules, then the entry points `sojourn.actions`.

    An entry point names an action function or a module of them; `checks` as for Registry.
    """
    found: list[Action] = []
    for module in pkgutil.iter_modules(activities.__path__):
        # Private modules hold no actions, and one of them takes seconds to import.
        if not module.name.startswith("_"):
            found += _actions_of(importlib.import_module(f"{activities.__name__}.{module.name}"))
    for point in entry_points(group=ENTRY_POINTS):
        loaded = point.load()
        declared = _actions_of(loaded)
        if not declared:
            raise TypeError(f"entry point {point.name!r} ({point.value}) holds no @action function")
        found += declared
    return Registry(found, checks)


def _actions_of(holder: Any) -> list[Action]:
    candidates = [holder, *(vars(holder).values() if inspect.ismodule(holder) else ())]
    marks = [getattr(item, _MARK, None) for item in candidates if inspect.isfunction(item)]
    return [mark for mark in marks if isinstance(mark, Action)]
