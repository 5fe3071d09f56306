"""What operators do to an open run; each order is checked before it is accepted."""

from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.execution import Execution

with workflow.unsafe.imports_passed_through():
    from schemas.definition import walk
    from schemas.errors import ErrorCode, InputError
    from schemas.graph import dependents
    from schemas.migration import Fit, compatibility
    from schemas.operations import Decide, Migrate, Respond, Rewind, SetVars
    from schemas.run import Answer, Decision, RunStart, RunStatus, StepState, StepStatus
    from schemas.validation import check_input


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

    async def decide(self, order: Decide) -> RunStatus:
        """Hand the decision to the step."""
        state = self._step(order.path)
        state.decision = Decision.model_validate(order.model_dump(exclude={"path"}))
        await workflow.wait_condition(lambda: not state.held or self._run.quiescing)
        return self._run.recorder.status()

    # -- an approval -------------------------------------------------------------------------

    def check_respond(self, order: Respond) -> None:
        """Refuse an answer that is late, from somebody else, given before, or not as the form."""
        state = self._step(order.path)
        if state.type != "approval" or state.status.done or state.data is None:
            _refuse(f"the step {order.path!r} asks for no answer")
        if order.by not in state.data["assignees"]:
            _refuse(f"{order.by!r} is not asked here", ErrorCode.FORBIDDEN)
        if any(answer.by == order.by for answer in state.answers):
            _refuse(f"{order.by!r} has answered already")
        try:
            check_input(state.data["form"], order.data)
        except InputError as error:
            _refuse(error.message, ErrorCode.INVALID_INPUT)

    async def respond(self, order: Respond) -> RunStatus:
        """Add the answer."""
        answer = Answer.model_validate(order.model_dump(exclude={"path"}))
        answer.at = workflow.now()
        self._step(order.path).answers.append(answer)
        return self._run.recorder.status()

    # -- vars --------------------------------------------------------------------------------

    def check_set_vars(self, _order: SetVars) -> None:
        """Refuse it while steps run: they may be reading the values."""
        if self._run.recorder.status() != RunStatus.PAUSED:
            _refuse("vars can be changed while the run is paused")

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
        if state.id not in {step.id for _, step in walk(definition.steps)}:
            _refuse("a run goes back to a step of 'steps' only")

    async def rewind(self, order: Rewind) -> RunStatus:
        """Bring the walk to a boundary; `go_back` does the rest."""
        self._target = order.path
        self._run.quiescing = True
        return self._run.recorder.status()

    def go_back(self) -> bool:
        """Carry out a rewind; True when the run goes on here, False when it continues as new."""
        if self._target is not None:
            self._reset(self._target)
            self._target = None
            self._run.state.rounds += 1
            self._run.quiescing = self._version is not None
            self._run.check_history()
            return not self._run.quiescing
        return False

    def _reset(self, target: str) -> None:
        run = self._run
        prefix = target.removesuffix(run.state.steps[target].id)
        again, around = dependents(run.start.definition.steps, run.state.steps[target].id)
        for path, state in list(run.state.steps.items()):
            if state.id in again and path.startswith(_shared(prefix, path)):
                run.forget(path)
        for path, state in run.state.steps.items():
            if state.id in around and target.startswith(path.removesuffix(state.id)):
                _reopen(state)
                run.recorder.touch(path)

    # -- another version ---------------------------------------------------------------------

    def check_migrate(self, order: Migrate) -> None:
        """Refuse a version in which a begun step is missing or another."""
        self._check_open()
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


def _shared(prefix: str, path: str) -> str:
    """Give the longest loop prefix that the target and a path have in common."""
    end = 0
    for index, (left, right) in enumerate(zip(prefix, path, strict=False)):
        if left != right:
            break
        if left == ".":
            end = index + 1
    return prefix[:end]


def _reopen(state: StepState) -> None:
    state.status = StepStatus.RUNNING
    state.output = None
    state.finished_at = state.until = state.note = None
    if state.type == "parallel":
        state.data = None


def _refuse(message: str, code: str = ErrorCode.CONFLICT) -> NoReturn:
    raise ApplicationError(message, type=code, non_retryable=True)
