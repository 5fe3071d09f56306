"""Rows and live states, made into what the API shows."""

from datetime import datetime
from typing import Any

from api.models.definitions import Published, VersionSummary
from api.models.runs import Blocked, RunDetail, RunSummary, StepView
from db.definitions import Definition, Version
from db.definitions import VersionSummary as VersionRow
from db.run_steps import RunStep
from db.runs import Run
from db.runs import RunSummary as RunRow
from schemas.errors import Problem
from schemas.keeping import Keep, kept
from schemas.run import RunState, RunStatus, StepState, StepStatus


def definition_summary(row: Definition) -> dict[str, Any]:
    """The fields that a definition's summary and detail share."""
    return {
        "name": row.name,
        "title": row.title,
        "version": row.active_version,
        "latest_version": row.latest_version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def version_summary(name: str, row: Version | VersionRow, *, active: int | None) -> VersionSummary:
    """One version; `active` is the number of the definition's active one."""
    return VersionSummary(
        name=name,
        version=row.version,
        status=row.status,
        active=row.version == active,
        created_at=row.created_at,
        published_at=row.published_at,
    )


def published(name: str, row: Version, *, active: int | None, warnings: list[Problem]) -> Published:
    """A version that was stored or published just now."""
    summary = version_summary(name, row, active=active)
    return Published(**dict(summary), warnings=warnings)


def run_summary(row: RunRow | Run) -> RunSummary:
    """A run in a list."""
    values = row.model_dump(include=set(RunSummary.model_fields))
    return RunSummary.model_validate({**values, "blocked": _blocked(row)})


def _blocked(row: RunRow | Run) -> Blocked | None:
    if row.blocked_at is None:
        return None
    return Blocked(since=row.blocked_at, reason=row.blocked_reason or "")


def run_detail(
    row: Run, state: RunState | None, *, stale: bool, no_worker: bool = False
) -> RunDetail:
    """A run from its row, overlaid with its live state where there is one."""
    values = row.model_dump(include=set(RunDetail.model_fields))
    found = {"stale": stale, "no_worker": no_worker, "blocked": _blocked(row)}
    detail = RunDetail.model_validate({**values, **found})
    if state is None:
        return detail
    waiting = [step for step in state.steps.values() if step.status is StepStatus.WAITING]
    closed = state.status.terminal
    return detail.model_copy(
        update={
            "status": RunStatus.PAUSED if state.paused and not closed else state.status,
            "output": state.output,
            "error": state.error,
            "started_at": state.started_at,
            "waiting_for": "; ".join(step.note or step.id for step in waiting[:5]) or None,
            "until": min((step.until for step in waiting if step.until), default=None),
        }
    )


def step_view(row: RunStep) -> StepView:
    """A step as its row has it."""
    return StepView.model_validate(row.model_dump(include=set(StepView.model_fields)))


def merge_steps(
    rows: list[RunStep], state: RunState | None, keep: Keep = Keep.FULL
) -> list[StepView]:
    """The steps in the order in which they began; the live state overrides the rows.

    `keep` is how much is shown of what AI steps were told and said.
    """
    views = {row.path: step_view(row) for row in rows}
    for path, step in (state.steps if state else {}).items():
        known = views.get(path)
        view = _live_step(step, keep)
        if known is not None and view.input is None:
            # The run forgets a step's parameters once the projection has them.
            view = view.model_copy(update={"input": known.input})
        views[path] = view
    return list(views.values())


def _live_step(step: StepState, keep: Keep) -> StepView:
    values = step.model_dump(exclude={"choice"})
    for name in ("input", "output"):
        values[name] = kept(keep, step.type, values[name])
    return StepView(**values, duration_ms=_duration(step.started_at, step.finished_at))


def _duration(started: datetime | None, finished: datetime | None) -> int | None:
    if started is None or finished is None:
        return None
    return max(0, round((finished - started).total_seconds() * 1000))
