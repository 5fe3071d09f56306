"""What a start means to others of its definition: keys, the singleton, and who replaces whom."""

import hashlib
from typing import Any

import sqlalchemy as sa
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.admission import is_active, is_waiting, lock_definition
from db.base import dump_json
from db.projection import close
from db.run_table import Run
from schemas import expressions
from schemas.errors import ConflictError, ErrorCode
from schemas.policies import Limits
from schemas.run import ErrorInfo, RunStatus

_LONGEST = 200


def keys_of(limits: Limits, input: dict[str, Any]) -> tuple[str | None, str | None]:
    """Give the key of the slots and that of the debounce; None where the limits have none.

    Raises ExpressionError where the input has no value for a key.
    """
    flow = limits.concurrency or limits.singleton
    return (
        None if flow is None else _value(flow.key, input),
        None if limits.debounce is None else _value(limits.debounce.key, input),
    )


def _value(key: str | None, input: dict[str, Any]) -> str:
    if key is None:
        return "*"
    text = dump_json(expressions.evaluate(key, {"input": input}))
    if len(text) <= _LONGEST:
        return text
    return hashlib.sha256(text.encode()).hexdigest()


async def make_way(
    session: AsyncSession,
    workspace: str,
    definition: str,
    run_id: str,
    limits: Limits,
    flow_key: str | None,
    debounce_key: str | None,
) -> None:
    """Close the starts that this one replaces; raises ConflictError where it is one too many.

    Keeps the definition locked, so that nothing is admitted or ordered meanwhile.
    """
    mode = limits.singleton.mode if limits.singleton else None
    if limits.debounce is None and mode in (None, "queue"):
        return
    await lock_definition(session, workspace, definition)
    waiting = is_waiting(workspace, definition)
    if debounce_key is not None:
        same = sa.and_(waiting, col(Run.debounce_key) == debounce_key)
        await _replace(session, workspace, run_id, same)
    if mode == "skip":
        await _refuse_second(session, workspace, definition, flow_key)
    elif mode == "cancel_running":
        await _replace(session, workspace, run_id, sa.and_(waiting, col(Run.flow_key) == flow_key))


async def _refuse_second(
    session: AsyncSession, workspace: str, definition: str, flow_key: str | None
) -> None:
    either = sa.or_(is_active(workspace, definition), is_waiting(workspace, definition))
    statement = sa.select(col(Run.id)).where(either, col(Run.flow_key) == flow_key).limit(1)
    running = (await (await session.connection()).execute(statement)).scalar()
    if running is not None:
        raise ConflictError(
            f"{definition!r} is a singleton, and the run {running} has not ended",
            hint="start it after that, or set the singleton's mode to 'queue'",
            details={"run_id": running},
        )


async def _replace(
    session: AsyncSession, workspace: str, run_id: str, condition: sa.ColumnElement[bool]
) -> None:
    """Cancel starts that wait, in favour of the run of this id."""
    found = (await session.connection()).execute(sa.select(col(Run.id)).where(condition))
    for replaced in (await found).scalars().all():
        error = ErrorInfo(code=ErrorCode.CANCELLED, message=f"replaced by the run {run_id}")
        await close(session, workspace, replaced, RunStatus.CANCELLED, error=error)
