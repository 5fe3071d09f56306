"""An action's parameters against its schema: names, and the values that hold no expression."""

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from schemas.actions import ActionSpec
from schemas.errors import InputError, Problem
from schemas.inputs import check_input
from schemas.rules import Rule, refused
from schemas.step_base import StepBase
from schemas.steps import ActionStep


def find_parameter_problems(
    steps: Iterable[tuple[str, StepBase]], specs: Mapping[str, ActionSpec]
) -> list[Problem]:
    """Check the `with` of every action among `(path, step)` that `specs` knows."""
    return [
        problem
        for path, step in steps
        if isinstance(step, ActionStep) and step.type in specs
        for judge in (_check, _own_check, _delivery)
        for problem in judge(path, step, specs[step.type])
    ]


def _check(path: str, step: ActionStep, spec: ActionSpec) -> Iterator[Problem]:
    known = spec.params.get("properties", {})
    if spec.params.get("additionalProperties") is False:
        for name in step.with_:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                message = f"{step.type!r} has no parameter {name!r}"
                yield refused(Rule.UNKNOWN_PARAMETER, f"{path}.with.{name}", message, hint)
    for name in spec.params.get("required", []):
        if name not in step.with_:
            message = f"{step.type!r} needs the parameter {name!r}"
            yield refused(Rule.MISSING_PARAMETER, f"{path}.with", message)
    definitions = {key: spec.params[key] for key in ("$defs",) if key in spec.params}
    for name, value in step.with_.items():
        if name not in known or "{{" in json.dumps(value):
            continue
        try:
            check_input({**definitions, **known[name]}, value)
        except InputError as error:
            for problem in error.problems:
                place = ".".join(filter(None, (f"{path}.with.{name}", problem.path)))
                yield refused(Rule.BAD_PARAMETER, place, problem.message, problem.hint)


def _own_check(path: str, step: ActionStep, spec: ActionSpec) -> Iterator[Problem]:
    """What the action itself says against its parameters."""
    if spec.check is not None:
        for fault in spec.check(step.with_):
            place = f"{path}.with.{fault.name}"
            yield refused(Rule.BAD_PARAMETER, place, fault.message, fault.hint)


def _delivery(path: str, step: ActionStep, spec: ActionSpec) -> Iterator[Problem]:
    """An effect can only be kept from happening twice by an action that keeps books of it."""
    if step.once and not spec.at_most_once:
        message = f"{step.type!r} keeps no books of its effect: it has no 'at_most_once'"
        yield refused(Rule.BAD_VALUE, f"{path}.delivery", message, "leave 'delivery' away")
