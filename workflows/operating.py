"""What operators do to an open run; each order is checked before it is accepted."""

from collections.abc import Sequence
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.execution import Execution
from workflows.rewinding import asides, rewind

with workflow.unsafe.imports_passed_through():
    from schemas.definition import walk
    from schemas.errors import ErrorCode, InputError, LimitError, Problem
    from schemas.migration import Fit, compatibility
    from schemas.operations import Decide, Migrate, Respond, Rewind, SetVars
    from schemas.run import (
        DECISION_REVISION,
        MAX_OUTPUT_BYTES,
        Answer,
        Decision,
        RunStart,
        RunStatus,
        StepState,
    )
    from schemas.steps import CONTROL_KINDS
    from schemas.validation import check_input, check_size


class Operator:
    """Checks orders and carries them out on one run."""

    def __init__(self, run: Execution) -> None:
        """Operate `run`."""
        self._run = run
        self._target: str | None = None
        self._version: Migrate | None = None

    # -- a held step -------------------------------------------------------------------------

    def check_decide(self, order: Decide) -> None:
        """Refuse an order for a step that is not held."""
        state = self._step(order.path)
        if not state.held:
            _refuse(f"the step {order.path!r} is {state.status.value}; nobody need decide")
        if state.decision is not None:
            _refuse(f"the step {order.path!r} has a decision already")
        if order.input is not None and state.type in CONTROL_KINDS:
            _refuse(f"a {state.type} step has no 'with'", ErrorCode.INVALID_INPUT)
        _check_size(order.input, "the input")
        _check_size(order.output, "the output")

    async def decide(self, order: Decide) -> RunStatus:
        """Hand the decision to the step, and wait until it has taken it."""
        state = self._step(order.path)
        decision = Decision.model_validate(order.model_dump(exclude={"path"}))
        state.decision = decision
        # A step that fails again without waiting for anything is held again before anybody looks.
        again = self._run.start.revision >= DECISION_REVISION
        await workflow.wait_condition(
            lambda: (
                not state.held or (again and state.decision is not decision) or self._run.quiescing
            )
        )
        return self._run.recorder.status()

    # -- an approval -------------------------------------------------------------------------

    def check_respond(self, order: Respond) -> None:
        """Refuse an answer that is late, from somebody else, given before, or not as the form."""
        state = self._step(order.path)
        asks = state.type == "approval" and not state.status.done and not state.held
        if not asks or state.data is None or state.choice is not None:
            _refuse(f"the step {order.path!r} asks for no answer")
        if order.by not in state.data["assignees"]:
            _refuse(f"{order.by!r} is not asked here", ErrorCode.FORBIDDEN)
        if any(answer.by == order.by for answer in state.answers):
            _refuse(f"{order.by!r} has answered already")
        try:
            check_input(state.data["form"], order.data)
        except InputError as error:
            _refuse(error.message, ErrorCode.INVALID_INPUT, error.problems)
        _check_size(order.data, "the answer")

    async def respond(self, order: Respond) -> RunStatus:
        """Add the answer."""
        answer = Answer.model_validate(order.model_dump(exclude={"path"}))
        answer.at = workflow.now()
        self._step(order.path).answers.append(answer)
        return self._run.recorder.status()

    # -- vars --------------------------------------------------------------------------------

    def check_set_vars(self, order: SetVars) -> None:
        """Refuse it while steps run: they may be reading the values."""
        if self._run.recorder.status() != RunStatus.PAUSED:
            _refuse("vars can be changed while the run is paused")
        _check_size({**self._run.state.vars, **order.vars}, "vars")

    async def set_vars(self, order: SetVars) -> RunStatus:
        """Change the values."""
        self._run.state.vars = {**self._run.state.vars, **order.vars}
        return self._run.recorder.status()

    # -- going back --------------------------------------------------------------------------

    def check_rewind(self, order: Rewind) -> None:
        """Refuse a step that has not begun, or that is no part of the run's own steps."""
        self._check_open()
        state = self._step(order.path)
        definition = self._run.start.definition
        steps = {step.id: step for _, step in walk(definition.steps)}
        if state.id not in steps or state.id in asides(steps.values()):
            _refuse("a run goes back to a step of 'steps' that is part of its course")
        if self._run.state.goal is not None:
            _refuse("the run has reached its goal")

    async def rewind(self, order: Rewind) -> RunStatus:
        """Bring the walk to a boundary; `go_back` does the rest."""
        self._target = order.path
        self._run.quiescing = True
        return self._run.recorder.status()

    @property
    def rewinding(self) -> bool:
        """True while a rewind is accepted and not carried out."""
        return self._target is not None

    def go_back(self) -> bool:
        """Carry out a rewind; True when the run goes on here, False when it continues as new."""
        if self._target is None:
            return False
        rewind(self._run, self._target)
        self._target = None
        self._run.quiescing = self._version is not None
        self._run.check_history()
        return not self._run.quiescing

    # -- another version ---------------------------------------------------------------------

    def check_migrate(self, order: Migrate) -> None:
        """Refuse a version in which a begun step is missing or another."""
        self._check_open()
        if self._run.start.batch is not None:
            _refuse("a batch of items goes with the run it belongs to")
        if order.definition.name != self._run.start.definition.name:
            _refuse("a run stays in its definition", ErrorCode.INVALID_INPUT)
        verdict = compatibility(self._run.state, order.definition, order.mapping)
        if verdict.fit == Fit.BLOCKED:
            _refuse("; ".join(verdict.reasons))

    async def migrate(self, order: Migrate) -> RunStatus:
        """Bring the walk to a boundary; the run then continues as new in the version."""
        self._version = order
        self._run.quiescing = True
        return self._run.recorder.status()

    def migrate_now(self) -> RunStart | None:
        """Give the start of the new version, with the state moved to it; None without one.

        Steps that began after the order was accepted are judged again: a run that no longer fits
        stays in its version.
        """
        order = self._version
        if order is None:
            return None
        run = self._run
        if compatibility(run.state, order.definition, order.mapping).fit == Fit.BLOCKED:
            workflow.logger.warning("no longer fits the version", extra={"version": order.version})
            return None
        for old, new in order.mapping.items():
            run.rename(old, new)
        run.state.moved_from = run.start.version
        update = {
            "definition": order.definition,
            "version": order.version,
            "timeouts": order.timeouts,
        }
        return run.start.model_copy(update=update)

    # -- all of them -------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._run.state.status.terminal or self._run.unwinding:
            _refuse("the run is at its end")

    def _step(self, path: str) -> StepState:
        state = self._run.state.steps.get(path)
        if state is None:
            _refuse(f"no step {path!r} has begun", ErrorCode.NOT_FOUND)
        return state


def _check_size(value: Any, what: str) -> None:
    """Refuse what a run could not carry."""
    try:
        check_size(value, MAX_OUTPUT_BYTES, what)
    except LimitError as error:
        _refuse(error.message, ErrorCode.LIMIT_EXCEEDED)


def _refuse(
    message: str, code: str = ErrorCode.CONFLICT, problems: Sequence[Problem] = ()
) -> NoReturn:
    details = [problem.model_dump(mode="json") for problem in problems]
    raise ApplicationError(message, details, type=code, non_retryable=True)
