"""Checks of expressions at publish: names, order of steps, and types where they are known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas import cel
from schemas.actions import ActionSpec
from schemas.definition import Definition
from schemas.errors import ErrorCode, ExpressionError, Problem
from schemas.expressions import parse_template, templates
from schemas.graph import ancestors, visible_inside
from schemas.step_base import StepBase
from schemas.steps import (
    ActionStep,
    Condition,
    Delay,
    Fail,
    ForEach,
    Parallel,
    SetVars,
    Step,
    Stop,
    Switch,
    Wait,
)

_RUN = cel.object_type(
    {
        "id": cel.STRING,
        "definition": cel.STRING,
        "version": cel.INT,
        "workspace": cel.STRING,
        "started_at": cel.TIMESTAMP,
        "now": cel.TIMESTAMP,
    }
)
_LEAD = cel.object_type(
    {
        "id": cel.STRING,
        "email": cel.STRING,
        "name": cel.DYN,
        "company": cel.DYN,
        "status": cel.STRING,
        "fields": cel.DYN,
    }
)


@dataclass(frozen=True)
class _Place:
    """Where an expression stands: its path, and the text around it."""

    path: str
    offset: int = 0


@dataclass(frozen=True)
class _Scope:
    """What an expression may name: results of earlier steps, and a loop's variables."""

    steps: Mapping[str, cel.Type]
    names: Mapping[str, cel.Type] = field(default_factory=dict)

    def after(self, steps: Mapping[str, cel.Type]) -> "_Scope":
        return _Scope({**self.steps, **steps}, self.names)

    def inside(self, names: Mapping[str, cel.Type]) -> "_Scope":
        return _Scope(self.steps, {**self.names, **names})


def find_expression_problems(
    definition: Definition, specs: Mapping[str, ActionSpec]
) -> list[Problem]:
    """Check every expression of a definition whose step order is already known to be sound."""
    return _Checker(definition, specs).problems()


class _Checker:
    def __init__(self, definition: Definition, specs: Mapping[str, ActionSpec]) -> None:
        self.definition = definition
        self.specs = specs
        self.input = cel.type_from_json_schema({"type": "object", **definition.input})
        self.known = [step.id for top in definition.steps for step in _all(top)]
        self.vars = self._vars()
        self.found: list[Problem] = []

    def problems(self) -> list[Problem]:
        scope = _Scope({})
        self._list(self.definition.steps, "steps", scope)
        last = scope.after(self._results(self.definition.steps))
        self._value(self.definition.output, "output", last)
        return self.found

    def _vars(self) -> dict[str, cel.Type]:
        return {
            name: cel.DYN
            for top in self.definition.steps
            for step in _all(top)
            if isinstance(step, SetVars)
            for name in step.vars
        }

    def _results(self, steps: Sequence[StepBase]) -> dict[str, cel.Type]:
        return {inner.id: self._result(inner) for step in steps for inner in visible_inside(step)}

    def _result(self, step: StepBase) -> cel.Type:
        """What `steps.<id>` looks like; the output may be null, since a step can be skipped."""
        return cel.object_type(
            {"output": self._output(step), "status": cel.STRING, "error": cel.DYN}
        )

    def _output(self, step: StepBase) -> cel.Type:
        if step.output is not None:
            return cel.DYN
        if isinstance(step, ActionStep):
            spec = self.specs.get(step.type)
            return cel.type_from_json_schema(spec.result) if spec else cel.DYN
        if isinstance(step, Condition):
            return cel.BOOL
        if isinstance(step, ForEach):
            return cel.list_of(cel.DYN)
        if isinstance(step, Parallel):
            return cel.object_type({branch.name: cel.DYN for branch in step.branches})
        if isinstance(step, SetVars):
            return cel.object_type(dict.fromkeys(step.vars, cel.DYN))
        return cel.DYN

    def _list(self, steps: list[Step], path: str, scope: _Scope) -> None:
        before = ancestors(steps)
        results = {step.id: self._results([step]) for step in steps}
        for index, step in enumerate(steps):
            earlier: dict[str, cel.Type] = {}
            for name in before[step.id]:
                earlier |= results[name]
            self._step(step, f"{path}[{index}]", scope.after(earlier))

    def _step(self, step: StepBase, path: str, scope: _Scope) -> None:
        if step.if_ is not None:
            self._expression(step.if_, _Place(f"{path}.if"), scope, cel.BOOL)
        own = self._results([step]) if not isinstance(step, Stop) else {}
        if isinstance(step, ForEach):
            self._value(step.items, f"{path}.items", scope)
            names = {"item": cel.DYN, step.as_: cel.DYN, "index": cel.INT}
            self._list(step.do, f"{path}.do", scope.inside(names))
        else:
            self._fields(step, path, scope)
            for name, nested in step.step_lists():
                self._list(nested, f"{path}.{name}", scope)
        self._value(step.output, f"{path}.output", scope.after(_plain(own, step.id)))

    def _fields(self, step: StepBase, path: str, scope: _Scope) -> None:
        if isinstance(step, ActionStep | Condition):
            self._value(step.with_, f"{path}.with", scope)
        elif isinstance(step, Switch):
            if step.on is not None:
                self._expression(step.on, _Place(f"{path}.on"), scope)
            for index, case in enumerate(step.cases):
                self._value(case.is_, f"{path}.cases[{index}].is", scope)
                if case.if_ is not None:
                    place = _Place(f"{path}.cases[{index}].if")
                    self._expression(case.if_, place, scope, cel.BOOL)
        elif isinstance(step, Delay) and step.until is not None:
            self._expression(step.until, _Place(f"{path}.until"), scope, cel.TIMESTAMP)
        elif isinstance(step, SetVars):
            self._value(step.vars, f"{path}.vars", scope)
        elif isinstance(step, Fail):
            self._value(step.message, f"{path}.message", scope)
        else:
            assert isinstance(step, Delay | Wait | Parallel | Stop), step

    def _value(self, value: Any, path: str, scope: _Scope) -> None:
        for inner, text in templates(value):
            separator = "" if not inner or inner.startswith("[") else "."
            here = f"{path}{separator}{inner}"
            try:
                sources = parse_template(text).sources
            except ExpressionError as error:
                self._report(_Place(here), error.message, error.offset, error.hint)
                continue
            for offset, source in sources:
                self._expression(source, _Place(here, offset), scope)

    def _expression(
        self, source: str, place: _Place, scope: _Scope, wanted: cel.Type | None = None
    ) -> None:
        variables: dict[str, cel.Type] = {
            "input": self.input,
            "vars": cel.object_type(self.vars),
            "run": _RUN,
            "lead": _LEAD,
            "steps": cel.object_type(dict(scope.steps)),
            **scope.names,
        }
        found, problems = cel.check(source, variables)
        hidden = self._hidden_steps(source, scope) if problems else []
        for problem in problems:
            # A step that exists but cannot have run yet deserves a better word than "unknown".
            name = next((name for name in hidden if f'"{name}"' in problem.message), None)
            if name is not None:
                message = f"the step {name!r} cannot have run before this one"
                self._report(place, message, problem.offset, f"add {name!r} to depends_on")
            else:
                self._report(place, problem.message, problem.offset, problem.hint)
        if wanted is not None and not problems and found not in (wanted, cel.DYN):
            message = f"gives {found}, but {wanted} is needed"
            self._report(place, message, 0, None)

    def _hidden_steps(self, source: str, scope: _Scope) -> list[str]:
        try:
            chains = cel.compile(source).references
        except ExpressionError:
            return []
        named = sorted(chain[1] for chain in chains if chain[0] == "steps" and len(chain) > 1)
        return [name for name in named if name in self.known and name not in scope.steps]

    def _report(self, place: _Place, message: str, offset: int | None, hint: str | None) -> None:
        at = place.offset + (offset or 0)
        self.found.append(
            Problem(
                code=ErrorCode.EXPRESSION_ERROR,
                path=place.path,
                message=f"{message} (at character {at + 1})",
                hint=hint,
            )
        )


def _plain(results: Mapping[str, cel.Type], name: str) -> dict[str, cel.Type]:
    """In a step's own `output` its result is what the step gave before it was replaced."""
    return {
        **results,
        name: cel.object_type({"output": cel.DYN, "status": cel.STRING, "error": cel.DYN}),
    }


def _all(step: StepBase) -> Iterator[StepBase]:
    yield step
    for _, nested in step.step_lists():
        for inner in nested:
            yield from _all(inner)
