"""The state with which a re-driven run begins: that of the run that failed, as far as it stays."""

from collections.abc import Sequence

import structlog

from api.config import ApiConfig
from api.publishing import definition_of
from db import definitions, run_steps, runs
from db.engine import Database
from db.resumed_steps import began, copy_steps, state_of
from db.run_steps import RunStep
from db.run_table import Run
from schemas.definition import Definition
from schemas.errors import ConflictError, NotFoundError, UnavailableError
from schemas.keeping import AI_STEPS, Keep
from schemas.migration import Fit, compatibility
from schemas.resuming import Course, kept_steps, restart_points
from schemas.run import RunStart, RunState, StepStatus
from schemas.steps import SetVars
from workflows.gateway import Gateway
from workflows.resuming import carry_on

# Seconds. A worker may have to replay the run that ended; without one the rows must do.
_DEADLINE = 2.0
_log = structlog.get_logger(__name__)


async def resumed(
    database: Database, gateway: Gateway, run: Run, start: RunStart, config: ApiConfig
) -> RunState | None:
    """Give the state with which `run` goes on from the run that it resumes from; None: afresh.

    The exact state is Temporal's, as a worker tells it; else the record's, in which what is open
    inside of a top-level step runs again whole. Copies the records of what is kept. Raises
    ConflictError when the run is gone, or its results do not fit the version.
    """
    async with database.session() as session:
        try:
            assert run.resumes_from is not None, "asked for runs that resume from another"
            ended = await runs.get(session, run.workspace, run.resumes_from)
        except NotFoundError as error:
            raise ConflictError("the run to go on from was pruned") from error
        version = await definitions.get_version(
            session, run.workspace, ended.definition, ended.version
        )
        rows = await run_steps.steps(session, run.workspace, ended.id)
    if not began(ended):
        return None
    definition = definition_of(version)
    failed_at = (ended.error or {}).get("step")
    try:
        state = await gateway.state(ended.workflow_id, deadline=_DEADLINE)
    except (UnavailableError, NotFoundError, ConflictError) as error:
        _log.warning("resumed_from_rows", run_id=run.id, from_run=ended.id, error=error.message)
        state = _from_rows(ended, rows, definition, failed_at, config.ai_keep)
        failed_at = None
    before = start.model_copy(
        update={"run_id": ended.id, "definition": definition, "version": ended.version}
    )
    state = carry_on(before, state, failed_at)
    verdict = compatibility(state, start.definition)
    if verdict.fit is Fit.BLOCKED:
        raise ConflictError("; ".join(verdict.reasons))
    kept = [path for path, step in state.steps.items() if step.status.done]
    async with database.session() as session:
        await copy_steps(session, ended.id, run.id, kept)
    return state


def _from_rows(
    ended: Run, rows: Sequence[RunStep], definition: Definition, failed_at: str | None, keep: Keep
) -> RunState:
    """Make a state from a run's record, without what the record does not know.

    Choices, and what loops and branches remember, are unknown: a top-level step in which
    something is to run again has nothing left inside. Raises ConflictError where more is missing.
    """
    steps = {row.path: state_of(row) for row in rows}
    course = Course.of(definition)
    points = restart_points(steps, definition, failed_at)
    again = {_top(course, steps[path].id) for path in points}
    for path, step in list(steps.items()):
        if step.id in again:
            step.status, step.error = StepStatus.CANCELLED, None
        elif step.id in course.around and _top(course, step.id) in again:
            del steps[path]
    kept = kept_steps(steps, definition, sorted(again))
    state = RunState(started_at=ended.started_at or ended.created_at, steps=steps)
    by_id = definition.by_id()
    for step in kept.values():
        if keep is not Keep.FULL and step.type in AI_STEPS and step.status.done:
            raise ConflictError(
                f"the answer of the step {step.path!r} is not kept in the run's record, and no "
                "worker answers",
                hint="re-drive it while a worker runs, or from start",
            )
        setting = by_id[step.id]
        if isinstance(setting, SetVars) and step.status is StepStatus.COMPLETED:
            if setting.output is not None:
                raise ConflictError(
                    f"the record does not tell what the step {step.path!r} has set",
                    hint="re-drive it while a worker runs, or from start",
                )
            state.vars = {**state.vars, **(step.output or {})}
    return state


def _top(course: Course, identity: str) -> str:
    around = course.around.get(identity)
    return around[0] if around else identity
