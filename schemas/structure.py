"""Checks of a definition as a whole: ids, schemas, and where steps stand."""

from collections.abc import Iterator
from difflib import get_close_matches

from schemas.definition import Definition, walk
from schemas.errors import ErrorCode, Problem
from schemas.inputs import find_schema_fault
from schemas.rules import Rule, refused, warned
from schemas.step_base import ErrorRoute, StepBase
from schemas.steps import ActionStep, Agent, Approval, Fail, ForEach, Step, Stop, Wait
from schemas.steps_flow import MAX_ITEMS

_TIMEOUT_HINT = "say how long in 'timeout', and what then in 'on_timeout'"


def find_duplicate_ids(definition: Definition) -> list[Problem]:
    """Find step ids that stand more than once in the whole definition."""
    first: dict[str, str] = {}
    problems: list[Problem] = []
    for path, step in definition.walk():
        if step.id in first:
            message = f"the step id {step.id!r} is taken by {first[step.id]}"
            hint = "ids are unique in the whole definition"
            problems.append(refused(Rule.DUPLICATE_ID, f"{path}.id", message, hint))
        first.setdefault(step.id, path)
    return problems


def find_structure_problems(definition: Definition) -> list[Problem]:
    """Find bad schemas, waits without an end, routes without effect and misplaced steps."""
    problems = _schemas(definition)
    codes = _codes(definition)
    for path, step in definition.walk():
        problems += [*_waits(path, step), *_routes(path, step), *_known_codes(path, step, codes)]
        if isinstance(step, ForEach) and isinstance(step.items, list):
            count = len(step.items)
            if count > MAX_ITEMS:
                message = f"{count} items; the limit is {MAX_ITEMS}"
                problems.append(refused(Rule.LIMIT_ITEMS, f"{path}.items", message))
        if step.savepoint and definition.compensation != "selective":
            message = "'savepoint' has no effect: the definition's compensation is full"
            hint = "set 'compensation: selective'"
            problems.append(warned(Rule.UNUSED_SAVEPOINT, f"{path}.savepoint", message, hint))
    for path, steps, where in _unwinding_lists(definition):
        problems += _misplaced(steps, path, where)
    return problems


def _schemas(definition: Definition) -> list[Problem]:
    problems: list[Problem] = []
    fault = find_schema_fault(definition.input)
    if fault is not None:
        problems.append(refused(Rule.BAD_SCHEMA, "input", f"not a valid JSON Schema: {fault}"))
    elif definition.input.get("type", "object") != "object":
        message = "a run's input is always an object"
        problems.append(refused(Rule.BAD_SCHEMA, "input.type", message))
    for path, step in definition.walk():
        fault = find_schema_fault(step.form) if isinstance(step, Approval) else None
        if fault is not None:
            message = f"not a valid JSON Schema: {fault}"
            problems.append(refused(Rule.BAD_SCHEMA, f"{path}.form", message))
        if isinstance(step, Agent):
            problems += _agent_schemas(path, step)
    return problems


def _agent_schemas(path: str, step: Agent) -> Iterator[Problem]:
    schemas = {
        f"{path}.tools[{at}].parameters": one.parameters for at, one in enumerate(step.tools)
    }
    if step.with_.output is not None:
        schemas[f"{path}.with.output"] = step.with_.output
    for place, schema in schemas.items():
        fault = find_schema_fault(schema)
        if fault is not None:
            yield refused(Rule.BAD_SCHEMA, place, f"not a valid JSON Schema: {fault}")


def _waits(path: str, step: StepBase) -> Iterator[Problem]:
    if isinstance(step, Wait | Approval) and step.timeout is None:
        what = "an answer" if isinstance(step, Approval) else "what it waits for"
        message = f"{step.id!r} waits for ever when {what} never comes"
        yield warned(Rule.WAIT_WITHOUT_TIMEOUT, path, message, _TIMEOUT_HINT)


def _routes(path: str, step: StepBase) -> Iterator[Problem]:
    """Find the routes of `on_error` that come after others which take all their codes."""
    taken: set[str] = set()
    everything = False
    for index, route in enumerate(step.on_error if isinstance(step.on_error, list) else ()):
        if not isinstance(route, ErrorRoute):
            continue
        if everything or (route.codes is not None and taken.issuperset(route.codes)):
            message = "never taken: the routes before it take all its codes"
            yield warned(Rule.UNREACHABLE_STEP, f"{path}.on_error[{index}]", message)
        taken.update(route.codes or ())
        everything = everything or route.codes is None


def _codes(definition: Definition) -> set[str]:
    own = {step.code for _, step in definition.walk() if isinstance(step, Fail)}
    return own | {str(code) for code in ErrorCode}


def _known_codes(path: str, step: StepBase, known: set[str]) -> Iterator[Problem]:
    """Warn of codes that look like a slip of a known one; others may be an action's own."""
    named: list[tuple[str, str]] = []
    for index, route in enumerate(step.on_error if isinstance(step.on_error, list) else ()):
        if isinstance(route, ErrorRoute):
            place = f"{path}.on_error[{index}].codes"
            named += [(f"{place}[{at}]", code) for at, code in enumerate(route.codes or ())]
    if isinstance(step, ActionStep) and step.retry is not None:
        for field, codes in (("only", step.retry.only), ("except", step.retry.except_)):
            named += [(f"{path}.retry.{field}[{at}]", code) for at, code in enumerate(codes)]
    for place, code in named:
        near = get_close_matches(code, sorted(known), 1, 0.8) if code not in known else []
        if near:
            message = f"no step of this definition and no part of Sojourn raises {code!r}"
            yield warned(Rule.UNKNOWN_CODE, place, message, f"did you mean {near[0]!r}?")


def _unwinding_lists(definition: Definition) -> Iterator[tuple[str, list[Step], str]]:
    """Give the outermost lists that run when the run has failed or was cancelled."""
    if definition.on_failure:
        yield "on_failure", definition.on_failure, "'on_failure'"
    inside: list[str] = ["on_failure["] if definition.on_failure else []
    for path, step in definition.walk():
        if step.compensate and not path.startswith(tuple(inside)):
            yield f"{path}.compensate", step.compensate, "a compensation"
            inside.append(f"{path}.compensate[")


def _misplaced(steps: list[Step], path: str, where: str) -> Iterator[Problem]:
    for here, step in walk(steps, path):
        if step.compensate:
            message = f"never runs: nothing is undone of what {where} did"
            yield refused(Rule.NESTED_COMPENSATION, f"{here}.compensate", message)
        if isinstance(step, Stop):
            message = f"a run that has failed or was cancelled cannot be completed by {where}"
            yield refused(Rule.MISPLACED_STEP, here, message, "remove the 'stop'")
