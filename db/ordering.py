"""Ordering a run: the one way in which a run's row is made, and with it the promise to start it.

An ordered run is started however late: by whoever has ordered it, or by the API's outbox.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit, definitions, idempotency, runs
from db.admission import Caps, count_up_to, is_waiting
from db.base import now
from db.definitions import Version, VersionStatus
from db.engine import MAX_QUEUED_STARTS
from db.flow_keys import keys_of, make_way
from db.ids import new_id
from db.run_table import DUE_SQL, Run
from schemas.errors import ConflictError, ErrorCode, SojournError, UnavailableError
from schemas.policies import Limits
from schemas.run import MAX_INPUT_BYTES, RunStatus
from schemas.validation import check_input, check_size

# Who takes a run to start it has this long; then the outbox takes it again.
START_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True)
class Ordered:
    """A run that was ordered; `created` is false when the key had ordered it before."""

    run_id: str
    created: bool


async def order_run(
    session: AsyncSession,
    workspace: str,
    *,
    definition: str,
    input: dict[str, Any],
    key: str | None = None,
    fingerprint: str = "",
    trigger_id: str | None = None,
    lead_id: str | None = None,
    version: int | None = None,
    priority: int | None = None,
    correlation_id: str | None = None,
    not_before: datetime | None = None,
    actor: str | None = None,
) -> Ordered:
    """Order a run in the caller's transaction; nobody need wait for it, the outbox starts it.

    `key` with another `fingerprint` than before is a ConflictError; `actor` is for the audit.
    Raises NotFoundError (DEFINITION_NOT_FOUND), InputError, LimitError, and ConflictError: for a
    version that is not published, or when a singleton runs already. RATE_LIMITED when the queue of
    the definition is full, UnavailableError when the outbox is. What fails leaves nothing behind,
    so that the caller may go on with its transaction.
    """
    run_id = new_id()
    async with session.begin_nested():
        if key is not None:
            holder = await idempotency.claim(session, workspace, key, fingerprint, run_id)
            if holder != run_id:
                return Ordered(holder, created=False)
        found = await definitions.get_version(session, workspace, definition, version)
        check_size(input, MAX_INPUT_BYTES, "the input")
        await check_room(session, workspace, definition)
        await place(
            session,
            found,
            definition,
            run_id=run_id,
            input=input,
            trigger_id=trigger_id,
            lead_id=lead_id,
            priority=priority,
            correlation_id=correlation_id,
            not_before=not_before,
            actor=actor or (f"trigger:{trigger_id}" if trigger_id else "system"),
        )
    return Ordered(run_id, created=True)


async def place(
    session: AsyncSession,
    version: Version,
    definition: str,
    *,
    run_id: str,
    input: dict[str, Any],
    actor: str,
    trigger_id: str | None = None,
    lead_id: str | None = None,
    priority: int | None = None,
    correlation_id: str | None = None,
    not_before: datetime | None = None,
    at_once: Caps | None = None,
    rated: bool = False,
) -> Run:
    """Make the row of a run of this version, with its audit entry; raises as `order_run`.

    With `at_once` the caller means to start it: where no limit and none of these caps asks for an
    admission it is admitted, and the outbox stays away for `START_AGAIN`. `rated`: the rates have
    counted it.
    """
    refuse_unpublished(definition, version)
    check_input(version.document.get("input") or {"type": "object"}, input)
    workspace = version.workspace
    limits = Limits.model_validate(version.document.get("limits") or {})
    flow_key, debounce_key = keys_of(limits, input)
    moment = now()
    due_at = max(moment, not_before or moment)
    if limits.debounce is not None:
        due_at = max(due_at, moment + limits.debounce.for_)
    if limits.queues:
        await make_way(session, workspace, definition, run_id, limits, flow_key, debounce_key)
    free = at_once is not None and not limits.queues and not at_once.any and due_at == moment
    audit.add(session, workspace, actor=actor, action="run.start", subject=run_id)
    return await runs.insert_queued(
        session,
        workspace,
        run_id=run_id,
        definition=definition,
        version=version.version,
        input=input,
        priority=priority or version.document.get("priority", 3),
        lead_id=lead_id,
        correlation_id=correlation_id,
        trigger_id=trigger_id,
        due_at=moment + START_AGAIN if free else due_at,
        admitted_at=moment if free else None,
        flow_key=flow_key,
        debounce_key=debounce_key,
        rated=rated,
    )


def refuse_unpublished(definition: str, version: Version) -> None:
    """Raise ConflictError (VERSION_CONFLICT) for a version that may not be started."""
    if version.status is not VersionStatus.PUBLISHED:
        raise ConflictError(
            f"version {version.version} of {definition!r} is {version.status.value}, not published",
            code=ErrorCode.VERSION_CONFLICT,
            hint="publish it, or start the active version",
        )


async def take_due(session: AsyncSession, workspace: str, *, limit: int = 100) -> list[str]:
    """Take the ids of runs that may start and that nobody has started; the longest due first.

    Nobody else gets them for `START_AGAIN`.
    """
    statement = (
        select(Run.id)
        .where(
            Run.workspace == workspace,
            col(Run.due_at) <= now(),
            DUE_SQL,
        )
        .order_by(col(Run.due_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = list((await session.exec(statement)).all())
    await hold(session, found)
    return found


async def hold(session: AsyncSession, run_ids: list[str]) -> None:
    """Keep the outbox from these runs for `START_AGAIN`, since they are being started."""
    if not run_ids:
        return
    moment = now()
    statement = (
        sa.update(Run)
        .where(col(Run.id).in_(run_ids))
        .values(due_at=moment + START_AGAIN, checked_at=moment)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def adopt(session: AsyncSession, run_id: str) -> None:
    """Make a queued row an ordered one, which waits for its turn like the others."""
    statement = (
        sa.update(Run)
        .where(
            col(Run.id) == run_id,
            col(Run.status) == RunStatus.QUEUED,
            col(Run.due_at).is_(None),
        )
        .values(due_at=now())
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def check_room(session: AsyncSession, workspace: str, definition: str) -> None:
    """Refuse one more start: UnavailableError when as many as may lie unstarted, or RATE_LIMITED.

    That one is for a definition for which so many starts wait already. How many may is said by
    the session's `Database`.
    """
    most: int | None = session.info[MAX_QUEUED_STARTS]
    if most is None:
        return
    due = sa.and_(col(Run.workspace) == workspace, DUE_SQL)
    if await count_up_to(session, most, due) >= most:
        raise UnavailableError(
            f"{most} starts wait for Temporal to come back; that is the limit", retry_after=30
        )
    if await count_up_to(session, most, is_waiting(workspace, definition)) >= most:
        raise SojournError(
            f"{most} starts of {definition!r} wait in its queue; that is the limit",
            code=ErrorCode.RATE_LIMITED,
            retry_after=30,
        )
