"""Checks of expressions at publish: every place of a definition that holds one, with its scope."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas import cel
from schemas.actions import ActionSpec
from schemas.cel.types import join
from schemas.definition import Definition
from schemas.endings import list_ends
from schemas.errors import Problem
from schemas.graph import ancestors
from schemas.places import Checks, Place
from schemas.result_types import kept_type, last_type, output_type, schema_type
from schemas.scopes import (
    APPROVAL,
    ERROR,
    EVENT,
    Result,
    Scope,
    doubting,
    inner_doubts,
    list_doubts,
    output_doubts,
    step_doubts,
)
from schemas.step_base import StepBase
from schemas.steps import (
    ActionStep,
    Agent,
    Approval,
    Condition,
    Delay,
    Fail,
    ForEach,
    Parallel,
    Repeat,
    SetVars,
    Split,
    Step,
    Stop,
    SubRun,
    Switch,
    Wait,
)


def find_expression_problems(
    definition: Definition, specs: Mapping[str, ActionSpec]
) -> list[Problem]:
    """Check every expression of a definition whose step order is already known to be sound."""
    names = {
        name for _, step in definition.walk() if isinstance(step, SetVars) for name in step.vars
    }
    first = _Walk(definition, specs, dict.fromkeys(names, cel.DYN))
    first.run()
    if not names:
        return first.checks.found
    # Once more, now that it is known what each `set` gives.
    second = _Walk(definition, specs, {name: join(first.vars[name]) for name in names})
    second.run()
    return second.checks.found


@dataclass(frozen=True)
class _List:
    """A step list that was walked: what can be read of it, and the type of its output."""

    results: Mapping[str, Result]
    last: cel.Type


class _Walk:
    def __init__(
        self,
        definition: Definition,
        specs: Mapping[str, ActionSpec],
        variables: Mapping[str, cel.Type],
    ) -> None:
        self.definition = definition
        self.specs = specs
        self.vars: dict[str, list[cel.Type]] = {name: [] for name in variables}
        self.index = definition.by_id()
        self.checks = Checks(definition, variables)
        # For each `stop` without an output, the steps that are sure to have run before it.
        self.stops: dict[str, frozenset[str]] = {}

    def run(self) -> None:
        definition, empty = self.definition, Scope(self.index)
        zone = replace(empty, hidden=("steps",), why="the zone is that of every window of the run")
        self.checks.text(definition.timezone, "timezone", zone)
        self._keys(empty)
        main = self._list(definition.steps, "steps", empty).results
        failed = empty.after(doubting(main, [("failure",)]))
        self._list(definition.on_failure, "on_failure", failed.naming({"error": ERROR}))
        last = main
        if definition.goal is not None:
            last = doubting(main, [("goal",)])
            why = "the goal's key is rendered once, as the run starts"
            start = replace(empty, hidden=("steps", "vars"), why=why)
            self.checks.value(definition.goal.key, "goal.key", start)
            event = empty.after(last).naming({"event": EVENT})
            self.checks.verdict(definition.goal.where, "goal.where", event)
            reached = self._list(definition.on_goal, "on_goal", event).results
            last = {**last, **doubting(reached, [("goal",)])}
        for name, sure in self.stops.items():
            others = {step: one for step, one in last.items() if step not in sure}
            last = {**last, **doubting(others, [("stopped", name)])}
        self.checks.value(definition.output, "output", empty.after(last))

    def _keys(self, empty: Scope) -> None:
        """Check the keys of flow control: they are evaluated before there is a run."""
        why = "the keys of 'limits' decide whether there is a run"
        before = replace(empty, hidden=("steps", "vars", "run", "lead"), why=why)
        for path, key in self.definition.limits.key_sources():
            self.checks.expression(key, Place(f"limits.{path}"), before)

    def _list(self, steps: list[Step], path: str, scope: Scope) -> _List:
        before = ancestors(steps)
        places = {step.id: f"{path}[{index}]" for index, step in enumerate(steps)}
        results: dict[str, dict[str, Result]] = {}
        # What a step waits for has fewer steps before it, so that it comes first.
        for step in sorted(steps, key=lambda step: len(before[step.id])):
            earlier: dict[str, Result] = {}
            for name in before[step.id]:
                earlier |= results[name]
            inner = scope.after(earlier)
            for name in before[step.id]:
                inner = _behind(self.index[name], inner)
            results[step.id] = self._step(step, places[step.id], inner)
        outputs = {step.id: results[step.id][step.id].output for step in steps}
        whole = {name: one for step in steps for name, one in results[step.id].items()}
        return _List(whole, last_type(steps, outputs))

    def _step(self, step: StepBase, path: str, scope: Scope) -> dict[str, Result]:
        """Check a step and all inside it; gives what can be read of it afterwards."""
        self.checks.verdict(step.if_, f"{path}.if", scope)
        if step.if_ is not None and not isinstance(step, Condition):
            scope = scope.passing(step.if_, True)
        if isinstance(step, Stop) and step.output is None:
            self.stops[step.id] = _certain(scope)
        values, names = self._fields(step, path, scope)
        lists: dict[str, cel.Type] = {}
        inner: dict[str, Result] = {}
        for field, nested in step.visible_lists():
            walked = self._list(nested, f"{path}.{field}", _list_scope(step, field, scope))
            lists[field] = walked.last
            inner |= doubting(walked.results, list_doubts(step, field))
        recovery = dict(step.recovery_lists())
        for field, nested in step.hidden_lists():
            if field not in recovery:
                body = scope.naming(names | _arguments(step, field))
                walked = self._list(nested, f"{path}.{field}", body)
                lists[field] = walked.last
                if isinstance(step, Repeat):
                    self._loop(step, path, body.after(walked.results), walked)
        output = output_type(step, self.specs, lists, values)
        empty = output_doubts(step)
        if step.output is not None:
            own = {**inner, step.id: Result(output, empty)}
            output = self.checks.value(step.output, f"{path}.output", scope.after(own))
            empty = frozenset()
        own = {**inner, step.id: Result(output, empty)}
        self._recovery(step, path, scope, own)
        doubts = step_doubts(step)
        seen = doubting(inner, doubts | inner_doubts(step))
        return {step.id: Result(kept_type(step, output), empty | doubts), **seen}

    def _recovery(self, step: StepBase, path: str, scope: Scope, own: Mapping[str, Result]) -> None:
        """Check the fallbacks and the compensation, which see the error and the step itself."""
        for field, nested in step.recovery_lists():
            if field == "compensate":
                # After a cancel there is no error; the step has run, or may have.
                inner = scope.after(own).naming({"error": ERROR}, nullable=["error"])
            else:
                failed = doubting(own, [("failed", step.id)])
                inner = scope.after(failed).naming({"error": ERROR})
            self._list(nested, f"{path}.{field}", inner)

    def _loop(self, step: Repeat, path: str, scope: Scope, body: _List) -> None:
        self.checks.verdict(step.until, f"{path}.until", scope)
        before = scope.after(doubting(body.results, [("later",)]))
        self.checks.verdict(step.while_, f"{path}.while", before)

    def _fields(
        self, step: StepBase, path: str, scope: Scope
    ) -> tuple[cel.Type, dict[str, cel.Type]]:
        """Check a step's own fields; gives what `set` sets, and the names its body sees."""
        if isinstance(step, ForEach):
            item = self.checks.items(step.items, f"{path}.items", scope)
            return cel.DYN, {"item": item, step.as_: item, "index": cel.INT}
        if isinstance(step, Repeat):
            return cel.DYN, {"index": cel.INT}
        if isinstance(step, Approval):
            self._approval(step, path, scope)
            return cel.DYN, {"index": cel.INT, "approval": APPROVAL}
        if isinstance(step, SetVars):
            return self._set(step, path, scope), {}
        if isinstance(step, Switch):
            self._switch(step, path, scope)
        elif isinstance(step, Delay):
            self._delay(step, path, scope)
        elif isinstance(step, Wait):
            self._wait(step, path, scope)
        else:
            scope = replace(scope, secrets=isinstance(step, ActionStep))
            for field, value in _values(step).items():
                self.checks.value(value, f"{path}.{field}", scope)
        return cel.DYN, {}

    def _set(self, step: SetVars, path: str, scope: Scope) -> cel.Type:
        types = {
            name: self.checks.value(value, f"{path}.vars.{name}", scope)
            for name, value in step.vars.items()
        }
        for name, type_ in types.items():
            self.vars[name].append(type_)
        return cel.object_type(types)

    def _delay(self, step: Delay, path: str, scope: Scope) -> None:
        if step.until is not None:
            self.checks.expression(step.until, Place(f"{path}.until"), scope, cel.TIMESTAMP)
        if step.window is not None:
            self.checks.text(step.window.timezone, f"{path}.window.timezone", scope)

    def _switch(self, step: Switch, path: str, scope: Scope) -> None:
        if step.on is not None:
            self.checks.expression(step.on, Place(f"{path}.on"), scope)
        whole = scope
        for index, case in enumerate(step.cases):
            self.checks.value(case.is_, f"{path}.cases[{index}].is", whole)
            self.checks.verdict(case.if_, f"{path}.cases[{index}].if", scope)
            if case.if_ is not None:
                scope = scope.passing(case.if_, False)

    def _wait(self, step: Wait, path: str, scope: Scope) -> None:
        word = "any" if step.any is not None else "all" if step.all is not None else None
        for index, source in enumerate(step.sources()):
            here = f"{path}.{word}[{index}]" if word else path
            self.checks.value(source.key, f"{here}.key", scope)
            self.checks.verdict(source.where, f"{here}.where", scope.naming({"event": EVENT}))

    def _approval(self, step: Approval, path: str, scope: Scope) -> None:
        self.checks.value(step.assignees, f"{path}.assignees", scope)
        self.checks.value(step.description, f"{path}.description", scope)
        if step.escalate is not None:
            self.checks.value(step.escalate.to, f"{path}.escalate.to", scope)


def _values(step: StepBase) -> dict[str, Any]:
    """Give the fields of a step that are values with `{{ }}` and nothing more."""
    if isinstance(step, ActionStep | Condition):
        return {"with": step.with_}
    if isinstance(step, Agent):
        return {"with": step.question()}
    if isinstance(step, Split):
        return {"key": step.key}
    if isinstance(step, SubRun):
        return {"input": step.input}
    if isinstance(step, Fail):
        return {"message": step.message}
    assert isinstance(step, Parallel | Stop), step
    return {}


def _arguments(step: StepBase, field: str) -> dict[str, cel.Type]:
    """Give what the steps of an agent's tool see as `args`."""
    tools = step.tools if isinstance(step, Agent) else []
    for index, tool in enumerate(tools):
        if field == f"tools[{index}].do":
            return {"args": schema_type(tool.parameters)}
    return {}


def _list_scope(step: StepBase, field: str, scope: Scope) -> Scope:
    """Give the scope of one of a step's visible lists: it knows why it runs."""
    if isinstance(step, Condition) and step.if_ is not None:
        return scope.passing(step.if_, field == "then")
    if isinstance(step, Switch):
        for index, case in enumerate(step.cases):
            mine = field == f"cases[{index}].do"
            if case.if_ is not None:
                scope = scope.passing(case.if_, mine)
            if mine:
                break
    return scope.learning(list_doubts(step, field))


def _behind(step: StepBase, scope: Scope) -> Scope:
    """Give the scope of what comes after a step: a way that ends the run was not taken."""
    if not isinstance(step, Condition) or step.on_error != "fail":
        return scope
    for field, other, verdict in (("then", step.else_, True), ("else", step.then, False)):
        if list_ends(other):
            scope = scope.learning(list_doubts(step, field))
            if step.if_ is not None:
                scope = scope.passing(step.if_, verdict)
    return scope


def _certain(scope: Scope) -> frozenset[str]:
    return frozenset(name for name in scope.results if not scope.open_doubts(name))
