"""Steps that can never run, verdicts that never change, loops that only `max` ends."""

import json
from collections.abc import Iterator

from schemas import cel
from schemas.definition import Definition, walk
from schemas.endings import constant, ends
from schemas.errors import ExpressionError, Problem
from schemas.graph import ancestors
from schemas.rules import Rule, warned
from schemas.step_base import StepBase
from schemas.steps import Condition, Fail, Repeat, Step, Stop, Switch


def find_unreachable(definition: Definition) -> list[Problem]:
    """Find what never runs, in every list of a definition whose order is sound."""
    return [
        problem for path, steps in definition.top_lists() for problem in _find_in_list(steps, path)
    ]


def _find_in_list(steps: list[Step], path: str) -> Iterator[Problem]:
    before = ancestors(steps)
    enders = [step.id for step in steps if ends(step)]
    for index, step in enumerate(steps):
        here = f"{path}[{index}]"
        ender = next((name for name in enders if name in before[step.id]), None)
        if ender is not None:
            message = f"{step.id!r} never runs: {ender!r} before it always ends the run"
            hint = f"remove it, or give {ender!r} a guard"
            yield warned(Rule.UNREACHABLE_STEP, here, message, hint)
        yield from _find_in_step(step, here)
        for field, nested in step.step_lists():
            yield from _find_in_list(nested, f"{here}.{field}")


def _find_in_step(step: StepBase, path: str) -> Iterator[Problem]:
    if isinstance(step, Condition):
        yield from _condition(step, path)
        return
    guard = constant(step.if_)
    if guard is False:
        message = f"{step.id!r} never runs: its guard is always false"
        yield warned(Rule.UNREACHABLE_STEP, f"{path}.if", message)
    elif guard is True:
        message = "the guard is always true"
        yield warned(Rule.CONSTANT_VERDICT, f"{path}.if", message, "leave 'if' out")
    if isinstance(step, Switch):
        yield from _switch(step, path)
    elif isinstance(step, Repeat):
        yield from _repeat(step, path)


def _condition(step: Condition, path: str) -> Iterator[Problem]:
    verdict = constant(step.if_)
    if verdict is None:
        return
    shown = str(verdict).lower()
    field, dead = ("else", step.else_) if verdict else ("then", step.then)
    if dead:
        message = f"never runs: the verdict of {step.id!r} is always {shown}"
        yield warned(Rule.UNREACHABLE_STEP, f"{path}.{field}", message)
    else:
        yield warned(Rule.CONSTANT_VERDICT, f"{path}.if", f"the verdict is always {shown}")


def _switch(step: Switch, path: str) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    last: int | None = None
    for index, case in enumerate(step.cases):
        here = f"{path}.cases[{index}]"
        test = json.dumps({"is": case.is_} if case.if_ is None else {"if": case.if_.split()})
        verdict = constant(case.if_)
        if last is not None:
            message = f"never taken: case {last} is always taken before it"
            yield warned(Rule.UNREACHABLE_STEP, here, message)
        elif test in seen:
            message = f"never taken: it is the same as case {seen[test]}"
            yield warned(Rule.UNREACHABLE_STEP, here, message, "cases are counted from 0")
        elif verdict is False:
            yield warned(Rule.UNREACHABLE_STEP, here, "never taken: its test is always false")
        elif verdict is True:
            last = index
        seen.setdefault(test, index)
    if last is not None and step.default:
        message = f"never taken: case {last} is always taken before it"
        yield warned(Rule.UNREACHABLE_STEP, f"{path}.default", message)


def _repeat(step: Repeat, path: str) -> Iterator[Problem]:
    word, source = ("while", step.while_) if step.while_ is not None else ("until", step.until)
    assert source is not None, "a repeat has one of the two"
    verdict = constant(source)
    place = f"{path}.{word}"
    if verdict is (word == "until"):
        if word == "while":
            yield warned(Rule.UNREACHABLE_STEP, f"{path}.do", "never runs: 'while' is false")
        else:
            message = "the body runs once: 'until' is always true"
            yield warned(Rule.CONSTANT_VERDICT, place, message)
    elif not _has_exit(step) and (verdict is not None or not _can_change(step, source)):
        message = f"nothing in the loop changes '{word}': only 'max' ends it, as a failure"
        hint = "read what the body does: its steps' results, vars, index or run.now"
        yield warned(Rule.UNBOUNDED_LOOP, place, message, hint)


def _has_exit(step: Repeat) -> bool:
    return any(isinstance(inner, Stop | Fail) for _, inner in walk(step.do))


def _can_change(step: Repeat, source: str) -> bool:
    try:
        chains = cel.compile(source).references
    except ExpressionError:
        return True
    inside = {inner.id for _, inner in walk(step.do)}
    return any(
        chain[0] in ("vars", "index")
        or (chain[0] == "run" and chain[1:2] in ((), ("now",)))
        or (chain[0] == "steps" and (len(chain) == 1 or chain[1] in inside))
        for chain in chains
    )
