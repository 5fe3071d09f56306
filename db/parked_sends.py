"""Parked sends: effects of which nobody knows whether they have happened, as dead letters."""

import sqlalchemy as sa
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db import dead_letters
from db.base import clean_text
from db.dead_letter_table import DeadLetter, LetterKind, LetterState
from db.deliveries import Delivery
from db.mail_messages import MailMessage
from schemas.fingerprints import MAX_MESSAGE
from schemas.run import ErrorInfo


async def park(session: AsyncSession, sent: MailMessage | Delivery, error: ErrorInfo) -> None:
    """Keep an effect that may or may not have happened; to be called where it becomes `unknown`.

    One that was sent again, and is in doubt again, has its dead letter open again.
    """
    await dead_letters.add(
        session,
        DeadLetter(
            workspace=sent.workspace,
            kind=LetterKind.SEND,
            definition=sent.definition,
            subject_id=sent.id,
            run_id=sent.run_id,
            step_path=sent.step_path,
            code=error.code,
            message=clean_text(error.message[:MAX_MESSAGE]) or "",
            fingerprint="",
        ),
        again=True,
    )


async def resolve(
    session: AsyncSession, workspace: str, letter_id: str, *, reason: str, actor: str
) -> DeadLetter:
    """Say what was decided about a parked send; raises NotFoundError, ConflictError."""
    found = await dead_letters.settle(
        session, workspace, letter_id, LetterState.RESOLVED, reason=reason, actor=actor
    )
    if found is None or found.kind is not LetterKind.SEND:
        raise dead_letters.not_open(await dead_letters.get(session, workspace, letter_id))
    return found


async def give_up(
    session: AsyncSession, workspace: str, run_id: str, step_path: str, *, reason: str, actor: str
) -> None:
    """Discard the open letters of a step about which an operator has decided otherwise."""
    statement = (
        sa.update(DeadLetter)
        .where(
            col(DeadLetter.workspace) == workspace,
            col(DeadLetter.kind) == LetterKind.SEND,
            col(DeadLetter.run_id) == run_id,
            col(DeadLetter.step_path) == step_path,
            col(DeadLetter.state) == LetterState.OPEN,
        )
        .values(reason=reason, actor=actor, **dead_letters.settled(LetterState.DISCARDED))
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
