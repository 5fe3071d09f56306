"""What is known of a run's course before it runs: verdicts that are constant, steps that end it."""

from collections.abc import Sequence

from schemas import cel
from schemas.errors import ExpressionError
from schemas.step_base import StepBase
from schemas.steps import Condition, Fail, Parallel, Stop, Switch


def constant(source: str | None) -> bool | None:
    """Give the verdict of an expression that reads nothing; None when it can be either."""
    if source is None:
        return None
    try:
        program = cel.compile(source)
        value = program.evaluate({}) if not program.references else None
    except ExpressionError:
        # Syntax errors are reported where expressions are checked.
        return None
    return value if isinstance(value, bool) else None


def list_ends(steps: Sequence[StepBase]) -> bool:
    """Tell whether a step list, once begun, always ends the run."""
    return any(ends(step) for step in steps)


def ends(step: StepBase) -> bool:
    """Tell whether a step, once it is due, always ends the run: nothing after it can happen."""
    guarded = step.if_ is not None and not isinstance(step, Condition)
    if guarded or step.on_error != "fail":
        return False
    if isinstance(step, Stop | Fail):
        return True
    if isinstance(step, Condition):
        return list_ends(step.then) and list_ends(step.else_)
    if isinstance(step, Switch):
        return list_ends(step.default) and all(list_ends(case.do) for case in step.cases)
    if isinstance(step, Parallel):
        whole = step.join == "all" and step.on_branch_error == "fail"
        return whole and any(list_ends(branch.do) for branch in step.branches)
    return False
