"""Decisions about parked sends: it was sent, or it is to be sent again."""

from dataclasses import dataclass
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from api.operating import DEADLINE, Desk
from db import audit, dead_letters, deliveries, operator_log, parked_sends, runs
from db.dead_letter_table import DeadLetter, LetterKind, LetterState
from schemas.errors import ConflictError, ErrorCode, NotFoundError, UnavailableError
from schemas.operations import Decide
from schemas.run import RunStatus

MARKED, AGAIN = "marked as sent", "sent again"
_REDRIVE = "re-drive it: its run then goes on from this step, in a new run"


@dataclass(frozen=True)
class Decided:
    """A letter that was decided about; `status` is the run's, where its step went on with that."""

    letter: DeadLetter
    status: RunStatus | None


async def decide(
    desk: Desk, letter_id: str, *, sent: bool, output: dict[str, Any] | None = None
) -> Decided:
    """Settle a parked send in the ledger, then let the step that waits for it go on.

    A step that goes on finds in the ledger that it was sent, and completes with what it is told
    there; or that it may send. The same decision again has the step go on where that failed
    before. Raises NotFoundError; ConflictError for a letter of another kind or that is settled,
    for a step that is being parked at this moment, and for a resend that no step waits for;
    UnavailableError where the run does not answer: then nothing is decided, or, when it tells so,
    the decision is kept.
    """
    reason = MARKED if sent else AGAIN
    async with desk.database.session() as session:
        letter = await dead_letters.get(session, desk.workspace, letter_id)
    if letter.kind is not LetterKind.SEND:
        raise ConflictError("this dead letter is no parked send", hint="re-drive or discard it")
    repeated = letter.state is LetterState.RESOLVED and letter.reason == reason
    if letter.state is not LetterState.OPEN and not repeated:
        raise dead_letters.not_open(letter)
    held = await _is_held(desk, letter)
    if not (sent or held or repeated):
        raise ConflictError("no step waits for it any more", hint=_REDRIVE)
    if repeated:
        async with desk.database.session() as session:
            await _note(session, desk, letter, sent=sent, again=True)
    else:
        letter = await _settle(desk, letter, reason, sent=sent, output=output or {})
    return Decided(letter, await _go_on(desk, letter) if held else None)


async def _is_held(desk: Desk, letter: DeadLetter) -> bool:
    """Tell whether the step waits for a decision; raises ConflictError where it is about to."""
    run_id, path = _step_of(letter)
    try:
        async with desk.database.session() as session:
            run = await runs.get(session, desk.workspace, run_id)
    except NotFoundError:
        return False
    if run.status.terminal:
        return False
    state = await desk.gateway.state(run.workflow_id, deadline=DEADLINE)
    step = state.steps.get(path)
    if step is None or step.status.done:
        return False
    if step.held:
        return step.error is not None and step.error.code == ErrorCode.DELIVERY_UNKNOWN
    if step.error is None:
        raise ConflictError("the step is at it right now", hint="look again in some seconds")
    return False


def _step_of(letter: DeadLetter) -> tuple[str, str]:
    assert letter.run_id is not None, "a send belongs to a run"
    assert letter.step_path is not None, "a send belongs to a step"
    return letter.run_id, letter.step_path


async def _settle(
    desk: Desk, letter: DeadLetter, reason: str, *, sent: bool, output: dict[str, Any]
) -> DeadLetter:
    async with desk.database.session() as session:
        settled = await parked_sends.resolve(
            session, desk.workspace, letter.id, reason=reason, actor=desk.actor
        )
        await deliveries.decide(session, letter.subject_id, sent=sent, output=output)
        await _note(session, desk, letter, sent=sent)
    return settled


async def _note(
    session: AsyncSession, desk: Desk, letter: DeadLetter, *, sent: bool, again: bool = False
) -> None:
    """Write the decision to the audit and to the run's log."""
    run_id, path = _step_of(letter)
    action = "dead_letter.mark_sent" if sent else "dead_letter.resend"
    about = {"letter": letter.id, "path": path, **({"again": True} if again else {})}
    audit.add(
        session, desk.workspace, actor=desk.actor, action=action, subject=letter.id, data=about
    )
    await operator_log.note(
        session, desk.workspace, run_id, action, about, actor=desk.actor, masking=desk.masking
    )


async def _go_on(desk: Desk, letter: DeadLetter) -> RunStatus | None:
    run_id, path = _step_of(letter)
    order = Decide(path=path, action="retry")
    try:
        return (await desk.give(run_id, "step.retry", order)).status
    except ConflictError:
        # Somebody else was faster with the step; the ledger knows all the same.
        return None
    except UnavailableError as error:
        raise UnavailableError(
            f"the decision is kept, but the run does not go on yet: {error.message}",
            hint="send the same decision again",
            retry_after=error.retry_after,
            details=error.details,
        ) from error
