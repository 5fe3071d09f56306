"""Dead letters: written with the end of a run, in its transaction, listed, grouped, discarded.

`db.redriving` tries them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit
from db.base import clean_text, now
from db.dead_letter_table import DeadLetter, LetterKind, LetterState
from db.ids import new_id
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from schemas.errors import ConflictError, ErrorCode, NotFoundError
from schemas.fingerprints import MAX_MESSAGE, fingerprint, parts
from schemas.run import ErrorInfo, RunStatus

DEAD = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT})

# Parts of the statement that ends a run: `hit` is its row. A run for which another waits is no
# letter of its own, and one that was re-driven settles the letter it came from.
SETTLE_SQL = """
settled AS (
    UPDATE dead_letters SET state = 'redriven', updated_at = CAST(:now AS timestamptz),
        settled_at = CAST(:now AS timestamptz)
    FROM hit WHERE dead_letters.id = hit.redrive_of AND dead_letters.state = 'redriving'
)
"""
LETTER_SQL = """
letter AS (
    INSERT INTO dead_letters (id, workspace, kind, definition, version, subject_id, run_id,
        step_path, code, message, fingerprint, state, redrives, created_at, updated_at)
    SELECT CAST(:l_id AS text), hit.workspace, 'run', hit.definition, hit.version, hit.id, hit.id,
        CAST(:l_path AS text), CAST(:l_code AS text), CAST(:l_message AS text),
        encode(sha256(convert_to('run' || chr(10) || hit.definition || chr(10)
            || CAST(:l_print AS text), 'UTF8')), 'hex'),
        'open',
        coalesce((SELECT before.redrives FROM dead_letters AS before
            WHERE before.id = hit.redrive_of), 0),
        CAST(:now AS timestamptz), CAST(:now AS timestamptz)
    FROM hit WHERE hit.parent_run_id IS NULL OR hit.detached
    ON CONFLICT (kind, subject_id) DO NOTHING
)
"""


def letter_parameters(error: ErrorInfo | None) -> dict[str, Any]:
    """Give the parameters of `LETTER_SQL` for a run that ended with this error."""
    path, code, message = _told(error)
    return {
        "l_id": new_id(),
        "l_path": path,
        "l_code": code,
        "l_message": message,
        "l_print": "\n".join(parts(path, code, message)),
    }


def _told(error: ErrorInfo | None) -> tuple[str | None, str, str]:
    if error is None:
        return None, str(ErrorCode.INTERNAL), "the run failed and did not say why"
    message = clean_text(error.message[:MAX_MESSAGE]) or ""
    return clean_text(error.step), clean_text(error.code) or "", message


def settled(state: LetterState) -> dict[str, Any]:
    """Give what changes in a dead letter that is settled like this now."""
    moment = now()
    return {"state": state, "updated_at": moment, "settled_at": moment}


@dataclass(frozen=True)
class Ended:
    """A run whose row was just closed from outside."""

    id: str
    workspace: str
    definition: str
    version: int
    parent_run_id: str | None
    detached: bool
    redrive_of: str | None


async def run_ended(
    session: AsyncSession, run: Ended, status: RunStatus, error: ErrorInfo | None
) -> None:
    """Do what `SETTLE_SQL` and `LETTER_SQL` do for the end of a run."""
    redrives = 0
    if run.redrive_of is not None:
        settling = (
            sa.update(DeadLetter)
            .where(
                col(DeadLetter.id) == run.redrive_of,
                col(DeadLetter.state) == LetterState.REDRIVING,
            )
            .values(**settled(LetterState.REDRIVEN))
            .returning(col(DeadLetter.redrives))
            .execution_options(synchronize_session=False)
        )
        redrives = (await (await session.connection()).execute(settling)).scalar() or 0
    if status not in DEAD or (run.parent_run_id is not None and not run.detached):
        return
    path, code, message = _told(error)
    await add(
        session,
        DeadLetter(
            workspace=run.workspace,
            kind=LetterKind.RUN,
            definition=run.definition,
            version=run.version,
            subject_id=run.id,
            run_id=run.id,
            step_path=path,
            code=code,
            message=message,
            fingerprint="",
            redrives=redrives,
        ),
    )


async def keep_delivery(
    session: AsyncSession,
    workspace: str,
    definition: str,
    delivery_id: str,
    *,
    code: str,
    message: str,
) -> None:
    """Keep a webhook's delivery that cannot be read, mapped or taken."""
    await add(
        session,
        DeadLetter(
            workspace=workspace,
            kind=LetterKind.DELIVERY,
            definition=definition,
            subject_id=delivery_id,
            code=code,
            message=clean_text(message[:MAX_MESSAGE]) or "",
            fingerprint="",
        ),
    )


async def delivery_replayed(
    session: AsyncSession, delivery_id: str, run_id: str | None, *, actor: str
) -> None:
    """Settle the letter of a delivery that was used after all."""
    statement = (
        sa.update(DeadLetter)
        .where(
            col(DeadLetter.kind) == LetterKind.DELIVERY,
            col(DeadLetter.subject_id) == delivery_id,
            col(DeadLetter.state).in_((LetterState.OPEN, LetterState.REDRIVING)),
        )
        .values(new_run_id=run_id, actor=actor, **settled(LetterState.REDRIVEN))
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def add(session: AsyncSession, letter: DeadLetter, *, again: bool = False) -> None:
    """Keep a dead letter, its fingerprint made here; one that is open already stays as it is.

    One of the same subject that was settled before stays so, or with `again` is opened: it then
    tells of the new fault, `created_at` is now, and `redrives` counts one more.
    """
    letter.fingerprint = fingerprint(
        letter.kind, letter.definition, letter.step_path, letter.code, letter.message
    )
    inserting = insert(DeadLetter).values(letter.model_dump())
    known = ["kind", "subject_id"]
    if not again:
        await session.exec(inserting.on_conflict_do_nothing(index_elements=known))
        return
    changed: dict[str, Any] = {
        name: inserting.excluded[name]
        for name in (
            "version",
            "step_path",
            "code",
            "message",
            "fingerprint",
            "state",
            "reason",
            "actor",
            "created_at",
            "updated_at",
            "settled_at",
        )
    }
    changed["redrives"] = col(DeadLetter.redrives) + 1
    await session.exec(
        inserting.on_conflict_do_update(
            index_elements=known, set_=changed, where=col(DeadLetter.state) != LetterState.OPEN
        )
    )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which dead letters; `created_from` is included, `created_to` is not."""

    state: LetterState | None = None
    kind: LetterKind | None = None
    definition: str | None = None
    code: str | None = None
    fingerprint: str | None = None
    run_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def clauses(self, workspace: str) -> list[sa.ColumnElement[bool]]:
        """Give the conditions of a statement."""
        found = [col(DeadLetter.workspace) == workspace]
        for name in ("state", "kind", "definition", "code", "fingerprint", "run_id"):
            value = getattr(self, name)
            if value is not None:
                found.append(getattr(DeadLetter, name) == value)
        if self.created_from is not None:
            found.append(col(DeadLetter.created_at) >= self.created_from)
        if self.created_to is not None:
            found.append(col(DeadLetter.created_at) < self.created_to)
        return found


async def get(session: AsyncSession, workspace: str, letter_id: str) -> DeadLetter:
    """Return a dead letter; raises NotFoundError."""
    statement = select(DeadLetter).where(
        DeadLetter.id == letter_id, DeadLetter.workspace == workspace
    )
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError(f"there is no dead letter {letter_id!r}")
    return found


async def list_page(
    session: AsyncSession,
    workspace: str,
    wanted: Wanted,
    *,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[DeadLetter]:
    """Return a page of dead letters, the last first; raises InputError for a bad cursor."""
    statement = select(DeadLetter).where(*wanted.clauses(workspace))
    if cursor is not None:
        place = sa.tuple_(col(DeadLetter.created_at), col(DeadLetter.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(col(DeadLetter.created_at).desc(), col(DeadLetter.id).desc())
    rows = (await session.exec(statement.limit(page_size(limit) + 1))).all()
    return cut(rows, limit)


async def ids_of(session: AsyncSession, workspace: str, wanted: Wanted, *, limit: int) -> list[str]:
    """Give the ids of dead letters, the first first, `limit` of them at most."""
    statement = (
        sa.select(col(DeadLetter.id))
        .where(*wanted.clauses(workspace))
        .order_by(col(DeadLetter.created_at), col(DeadLetter.id))
        .limit(limit)
    )
    return list((await (await session.connection()).execute(statement)).scalars())


async def known(session: AsyncSession, workspace: str, letter_ids: Sequence[str]) -> set[str]:
    """Give those of the ids that are dead letters of the workspace."""
    statement = sa.select(col(DeadLetter.id)).where(
        col(DeadLetter.workspace) == workspace, col(DeadLetter.id).in_(list(letter_ids))
    )
    return set((await (await session.connection()).execute(statement)).scalars())


@dataclass(frozen=True)
class Group:
    """The dead letters of one fingerprint; `sample` is the latest."""

    fingerprint: str
    count: int
    first: datetime
    last: datetime
    redrives: int
    sample: DeadLetter


async def groups(
    session: AsyncSession, workspace: str, wanted: Wanted, *, limit: int = DEFAULT_PAGE
) -> list[Group]:
    """Group dead letters by fingerprint, the largest group first."""
    count = sa.func.count().label("count")
    grouped = (
        sa.select(
            col(DeadLetter.fingerprint),
            count,
            sa.func.min(col(DeadLetter.created_at)).label("first"),
            sa.func.max(col(DeadLetter.created_at)).label("last"),
            sa.func.sum(col(DeadLetter.redrives)).label("redrives"),
            sa.func.max(col(DeadLetter.id)).label("sample"),
        )
        .where(*wanted.clauses(workspace))
        .group_by(col(DeadLetter.fingerprint))
        .order_by(count.desc(), col(DeadLetter.fingerprint))
        .limit(page_size(limit))
    )
    rows = (await (await session.connection()).execute(grouped)).all()
    samples = select(DeadLetter).where(col(DeadLetter.id).in_([row.sample for row in rows]))
    by_id = {letter.id: letter for letter in (await session.exec(samples)).all()}
    return [
        Group(
            row.fingerprint,
            row._mapping["count"],
            row.first,
            row.last,
            int(row.redrives),
            by_id[row.sample],
        )
        for row in rows
    ]


async def discard(
    session: AsyncSession, workspace: str, letter_id: str, *, reason: str, actor: str
) -> DeadLetter:
    """Give an open dead letter up; raises NotFoundError, ConflictError when it is not open."""
    found = await settle(
        session, workspace, letter_id, LetterState.DISCARDED, reason=reason, actor=actor
    )
    if found is None:
        raise not_open(await get(session, workspace, letter_id))
    audit.add(
        session,
        workspace,
        actor=actor,
        action="dead_letter.discard",
        subject=letter_id,
        data={"reason": reason},
    )
    return found


async def settle(
    session: AsyncSession,
    workspace: str,
    letter_id: str,
    state: LetterState,
    *,
    reason: str,
    actor: str,
) -> DeadLetter | None:
    """Settle an open dead letter; None where it is not open."""
    statement = (
        sa.update(DeadLetter)
        .where(
            col(DeadLetter.id) == letter_id,
            col(DeadLetter.workspace) == workspace,
            col(DeadLetter.state) == LetterState.OPEN,
        )
        .values(reason=reason, actor=actor, **settled(state))
        .returning(DeadLetter)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().first()


def not_open(letter: DeadLetter) -> ConflictError:
    """Give the error for a dead letter that somebody else was faster with."""
    if letter.state is LetterState.OPEN:
        return ConflictError("somebody is at this dead letter right now", hint="look at it again")
    return ConflictError(
        f"the dead letter is {letter.state.value}, not open",
        hint="a run that failed again has a dead letter of its own",
    )
