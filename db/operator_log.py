"""Lines in the logs of runs about what people, and bulk jobs in their name, did to them."""

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import run_logs
from db.redriving import Redriven, Wish
from db.run_logs import Line, LogLevel, LogSource
from db.run_table import Run
from schemas.masking import Masking


def operator_line(action: str, about: dict[str, Any], actor: str) -> Line:
    """Give the line that a run's log has of what an operator did."""
    return Line(
        level=LogLevel.INFO,
        message=f"{action} by {about.get('by') or actor}",
        source=LogSource.OPERATOR,
        step_path=about.get("path"),
        data=about,
    )


async def note(
    session: AsyncSession,
    workspace: str,
    run_id: str,
    action: str,
    about: dict[str, Any],
    *,
    actor: str,
    masking: Masking,
) -> None:
    """Write one line in a run's log; nothing where the run was pruned."""
    known = select(col(Run.id)).where(col(Run.id) == run_id, col(Run.workspace) == workspace)
    if (await session.exec(known)).first() is None:
        return
    line = operator_line(action, about, actor)
    await run_logs.write(session, workspace, run_id, [line], masking)


async def note_redrive(
    session: AsyncSession, done: Redriven, wish: Wish, *, actor: str, masking: Masking
) -> None:
    """Tell the run of a re-driven dead letter where it went on, and the new run what it redoes."""
    letter = done.letter
    action = "dead_letter.redrive"
    about = {"letter": letter.id, "redrive": letter.redrives, "from": wish.origin}
    for run_id, more in (
        (letter.run_id, {"run_id": done.run_id}),
        (done.run_id, {"redrive_of": letter.run_id}),
    ):
        if run_id is not None:
            told = {**about, **{name: value for name, value in more.items() if value is not None}}
            await note(
                session, letter.workspace, run_id, action, told, actor=actor, masking=masking
            )
