"""Writing what a run says about itself: one statement for the row and all its steps."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import clean_text, dump_json, now
from db.dead_letters import DEAD, LETTER_SQL, SETTLE_SQL, Ended, letter_parameters, run_ended
from db.event_waits import close_run
from db.run_steps import RunStep
from db.run_table import OPEN, Run
from schemas.errors import InputError
from schemas.run import ErrorInfo, FinalOutcome, Projection, RunStatus, StepRecord, StepStatus

# Steps of one projection take the positions seq * _STRIDE + 1, 2, …
_STRIDE = 100_000
_OPEN_LIST = ", ".join(f"'{status.value}'" for status in OPEN)

# The column of each array that `_STEPS` unnests. JSON travels as text: an array of text is cheap
# to send, and json (unlike jsonb_to_recordset) takes "\\u0000" inside.
_COLUMNS: dict[str, str] = {
    "path": "text",
    "id": "text",
    "type": "text",
    "title": "text",
    "status": "text",
    "attempts": "integer",
    "input": "text",
    "output": "text",
    "error": "text",
    "error_code": "text",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "duration_ms": "bigint",
    "until": "timestamptz",
    "note": "text",
    "choice": "text",
}
_JSON = frozenset({"input", "output", "error"})
_KEEP = frozenset({"input", "started_at"})

_UPDATE = f"""
UPDATE runs SET
    seq = CAST(:seq AS integer), status = CAST(:status AS text),
    output = CAST(CAST(:output AS text) AS json), error = CAST(CAST(:error AS text) AS json),
    waiting_for = CAST(:waiting_for AS text), until = CAST(:until AS timestamptz),
    version = coalesce(CAST(:version AS integer), version),
    ended_by = CAST(:ended_by AS text),
    started_at = coalesce(started_at, CAST(:now AS timestamptz)),
    blocked_at = NULL, blocked_reason = NULL,
    finished_at = CAST(:finished_at AS timestamptz),
    updated_at = CAST(:now AS timestamptz), checked_at = CAST(:now AS timestamptz)
WHERE id = CAST(:run_id AS text) AND workspace = CAST(:workspace AS text)
    AND seq <= CAST(:seq AS integer) AND status IN ({_OPEN_LIST})
RETURNING id, workspace, definition, version, parent_run_id, detached, redrive_of
"""  # noqa: S608 - constants of this module


# A wait is over with its step, or with the run.
_CLOSE_WAITS = """
closed AS (
    UPDATE event_waits SET open = false FROM hit
    WHERE event_waits.run_id = hit.id AND event_waits.open
)
"""
_CLOSE_STEPS = _CLOSE_WAITS.replace(
    "event_waits.open\n", "event_waits.open AND step = ANY(CAST(:waits AS text[]))\n"
)


def _with_steps(*, only_missing: bool = False) -> str:
    arrays = ", ".join(f"CAST(:s_{name} AS {kind}[])" for name, kind in _COLUMNS.items())
    values = ", ".join(
        f"CAST(step.{name} AS json)" if name in _JSON else f"step.{name}" for name in _COLUMNS
    )
    changes = ", ".join(
        f"{name} = coalesce(excluded.{name}, run_steps.{name})"
        if name in _KEEP
        else f"{name} = excluded.{name}"
        for name in _COLUMNS
        if name != "path"
    )
    if only_missing:
        changes = "position = least(run_steps.position, excluded.position)"
    return f"""
written AS (
    INSERT INTO run_steps (run_id, workspace, position, {", ".join(_COLUMNS)})
    SELECT hit.id, CAST(:workspace AS text), CAST(:base AS bigint) + step.place, {values}
    FROM hit CROSS JOIN unnest({arrays}) WITH ORDINALITY AS step ({", ".join(_COLUMNS)}, place)
    ON CONFLICT (run_id, path) DO UPDATE SET {changes}
)
"""  # noqa: S608 - constants of this module


# Neither the status nor anything else that the run itself may have written since.
_MARK = """
UPDATE runs SET seq = greatest(seq, CAST(:seq AS integer))
WHERE id = CAST(:run_id AS text) AND workspace = CAST(:workspace AS text)
RETURNING id
"""


def _statement(*parts: str, update: str = _UPDATE) -> sa.TextClause:
    return sa.text(f"WITH {', '.join((f'hit AS ({update})', *parts))} SELECT id FROM hit")  # noqa: S608


_RUN_ONLY = sa.text(_UPDATE)
_RUN_AND_STEPS = _statement(_with_steps())
_MISSING_STEPS = _statement(_with_steps(only_missing=True), update=_MARK)
_RUN_STEPS_AND_WAITS = _statement(_with_steps(), _CLOSE_STEPS)
# By whether there are steps, and whether the run failed for good.
_ENDS = {
    (steps, dead): _statement(
        *([_with_steps()] if steps else []),
        _CLOSE_WAITS,
        SETTLE_SQL,
        *([LETTER_SQL] if dead else []),
    )
    for steps in (False, True)
    for dead in (False, True)
}


async def project(
    connection: AsyncConnection, projection: Projection, execution: str | None = None
) -> bool:
    """Apply a projection; False if a newer one was applied, or the run is closed or unknown.

    `execution` is Temporal's run id of the execution that sends it.

    One statement, so that a second delivery writes the same again. An equal `seq` is applied too:
    after a worker died inside a workflow task its inline steps run again, perhaps with another
    outcome, and their projection comes again under the same number.
    """
    if len(projection.steps) >= _STRIDE:
        raise InputError(f"a projection of {len(projection.steps)} steps; at most {_STRIDE - 1}")
    moment = now()
    parameters: dict[str, Any] = {
        "run_id": projection.run_id,
        "workspace": projection.workspace,
        "seq": projection.seq,
        "status": projection.status.value,
        "output": _json(projection.output),
        "error": _error(projection.error),
        "waiting_for": clean_text(projection.waiting_for),
        "until": projection.until,
        "version": projection.version,
        "ended_by": execution if projection.status.terminal else None,
        "now": moment,
        "finished_at": moment if projection.status.terminal else None,
    }
    ends = projection.status.terminal
    dead = projection.status in DEAD
    statement = _ENDS[bool(projection.steps), dead] if ends else _RUN_ONLY
    if dead:
        parameters |= letter_parameters(projection.error)
    if projection.steps:
        statement = statement if ends else _RUN_AND_STEPS
        rows = _arrays(projection, parameters, projection.seq)
        over = [
            row["path"] for row in rows if row["type"] == "wait" and StepStatus(row["status"]).done
        ]
        if over and not ends:
            statement = _RUN_STEPS_AND_WAITS
            parameters["waits"] = over
    return (await connection.execute(statement, parameters)).first() is not None


def _arrays(projection: Projection, parameters: dict[str, Any], seq: int) -> list[dict[str, Any]]:
    """Add the parameters of `_with_steps`, places as of `seq`; gives the rows of the steps."""
    parameters["base"] = max(0, seq) * _STRIDE
    # ON CONFLICT may touch a row once only: of two records of one step the later counts.
    rows = [_row(step) for step in {step.path: step for step in projection.steps}.values()]
    for name in _COLUMNS:
        parameters[f"s_{name}"] = [row[name] for row in rows]
    return rows


async def add_missing_steps(connection: AsyncConnection, projection: Projection) -> bool:
    """Store those steps of a whole projection that have no row, whatever became of the run since.

    What the run itself has written stays, and so does its status; only its places change where it
    wrote a step before those that come first. False where the run is unknown.
    """
    parameters: dict[str, Any] = {
        "run_id": projection.run_id,
        "workspace": projection.workspace,
        "seq": projection.seq,
    }
    # Before all that the run wrote under this number, perhaps already.
    _arrays(projection, parameters, projection.seq - 1)
    return (await connection.execute(_MISSING_STEPS, parameters)).first() is not None


async def ended_as(
    connection: AsyncConnection, projection: Projection, execution: str
) -> FinalOutcome | None:
    """Give the final outcome that this execution itself has written before, if it has.

    A worker may die, or a cancel may come, after the last projection and before Temporal has the
    end: the end is then decided again, and the row has the first decision.
    """
    statement = sa.select(col(Run.status), col(Run.output), col(Run.error)).where(
        col(Run.id) == projection.run_id,
        col(Run.workspace) == projection.workspace,
        col(Run.ended_by) == execution,
    )
    found = (await connection.execute(statement)).mappings().first()
    return None if found is None else FinalOutcome.model_validate(dict(found))


async def close(
    session: AsyncSession,
    workspace: str,
    run_id: str,
    status: RunStatus,
    *,
    error: ErrorInfo | None = None,
    output: Any = None,
    finished_at: datetime | None = None,
) -> bool:
    """Give an open run the final `status` that Temporal reports; False if it was closed before.

    For runs that could not say so themselves (terminated, timed out). Their open steps become
    cancelled, and what failed for good a dead letter.
    """
    if not status.terminal:
        raise ValueError(f"{status} is not a final status")
    moment = finished_at or now()
    closing = (
        sa.update(Run)
        .where(
            col(Run.id) == run_id,
            col(Run.workspace) == workspace,
            col(Run.status).in_(OPEN),
        )
        .values(
            status=status,
            error=error.model_dump(mode="json") if error else None,
            output=output,
            waiting_for=None,
            until=None,
            blocked_at=None,
            blocked_reason=None,
            finished_at=moment,
            updated_at=now(),
            checked_at=now(),
        )
        .returning(*(getattr(Run, name) for name in Ended.__dataclass_fields__))
        .execution_options(synchronize_session=False)
    )
    ended = (await (await session.connection()).execute(closing)).mappings().first()
    if ended is None:
        return False
    await run_ended(session, Ended(**ended), status, error)
    open_steps = (
        sa.update(RunStep)
        .where(
            col(RunStep.run_id) == run_id,
            col(RunStep.status).in_([step for step in StepStatus if not step.done]),
        )
        .values(status=StepStatus.CANCELLED, finished_at=moment, until=None)
        .execution_options(synchronize_session=False)
    )
    await session.exec(open_steps)
    await close_run(session, run_id)
    return True


def _row(step: StepRecord) -> dict[str, Any]:
    duration: int | None = None
    if step.started_at and step.finished_at:
        duration = max(0, round((step.finished_at - step.started_at).total_seconds() * 1000))
    return {
        "path": clean_text(step.path),
        "id": clean_text(step.id),
        "type": clean_text(step.type),
        "title": clean_text(step.title),
        "status": step.status.value,
        "attempts": step.attempts,
        "input": _json(step.input),
        "output": _json(step.output),
        "error": _error(step.error),
        "error_code": clean_text(step.error.code) if step.error else None,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "duration_ms": duration,
        "until": step.until,
        "note": clean_text(step.note),
        "choice": clean_text(step.choice),
    }


def _json(value: Any) -> str | None:
    return None if value is None else dump_json(value)


def _error(error: ErrorInfo | None) -> str | None:
    return None if error is None else dump_json(error.model_dump(mode="json"))
