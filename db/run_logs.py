"""Logs of runs: writing masked lines under a cap, and reading them forward."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import clean_text, dump_json, now
from db.locks import lock
from db.run_log_table import LogLevel, LogSource, RunLog
from schemas.masking import Masking

__all__ = [
    "MAX_LINES",
    "MAX_LINE_BYTES",
    "Line",
    "LogLevel",
    "LogSource",
    "RunLog",
    "page",
    "write",
]

# Lines of one run, the one that says that the rest is not kept among them.
MAX_LINES = 1000
# Of message and metadata together, as JSON.
MAX_LINE_BYTES = 2048
MAX_PAGE = 1000
_FULL = "the log is full: later lines are not kept"
# More of a text is not even looked through for secrets; its end may hold half of one.
_LOOKED_THROUGH = 64 * 1024
_HALF_SECRET = 512
_METADATA_BYTES = MAX_LINE_BYTES // 2


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line as its author gave it; `write` masks and cuts it."""

    level: LogLevel
    message: str
    source: LogSource = LogSource.ACTIVITY
    step_path: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    at: datetime = field(default_factory=now)


async def write(
    session: AsyncSession, workspace: str, run_id: str, lines: Sequence[Line], masking: Masking
) -> int:
    """Add lines to a run's log in one insert, masked and cut; gives how many were kept.

    The last line that a run's log has room for says that it is full. Writers of one run take
    turns until their transactions end. An unknown run is an IntegrityError.
    """
    if not lines:
        return 0
    await lock(session, f"run-log/{run_id}")
    counting = select(sa.func.count()).select_from(RunLog).where(RunLog.run_id == run_id)
    room = MAX_LINES - 1 - (await session.exec(counting)).one()
    if room < 0:
        return 0
    kept = [masked(line, masking) for line in lines[:room]]
    if len(lines) > room:
        kept.append(Line(level=LogLevel.WARNING, message=_FULL, source=LogSource.SYSTEM))
    # Keys are the table's columns here, not the model's attributes.
    table = RunLog.metadata.tables["run_logs"]
    rows = [
        {
            "workspace": workspace,
            "run_id": run_id,
            "step_path": clean_text(line.step_path),
            "at": line.at,
            "level": line.level,
            "source": line.source,
            "message": line.message,
            "metadata": line.data or None,
        }
        for line in kept
    ]
    await (await session.connection()).execute(sa.insert(table).values(rows))
    return len(kept)


def masked(line: Line, masking: Masking) -> Line:
    """Give a line as it is stored: secrets hidden, within MAX_LINE_BYTES."""
    whole = len(line.message.encode("utf-8", "replace"))
    message = masking.text(line.message[:_LOOKED_THROUGH])
    if len(line.message) > _LOOKED_THROUGH:
        message = message[: max(0, len(message) - _HALF_SECRET)]
    data = masking.fields(line.data)
    size = len(dump_json(data)) if data else 0
    if size > _METADATA_BYTES:
        data = {"cut": f"{size} bytes of metadata"}
        size = len(dump_json(data))
    text = (clean_text(message) or "").encode("utf-8", "replace")
    if len(text) + size > MAX_LINE_BYTES or len(line.message) > _LOOKED_THROUGH:
        note = f"… (cut from {whole} bytes)".encode()
        text = text[: MAX_LINE_BYTES - size - len(note)].decode("utf-8", "ignore").encode() + note
    return Line(
        level=line.level,
        message=text.decode("utf-8", "replace"),
        source=line.source,
        step_path=line.step_path,
        data=data,
        at=line.at,
    )


async def page(
    session: AsyncSession,
    workspace: str,
    run_id: str,
    *,
    after: int = 0,
    level: LogLevel | None = None,
    text: str | None = None,
    step: str | None = None,
    limit: int = 200,
) -> list[RunLog]:
    """Return lines after the id `after`, in the order in which they were written.

    Of `level` and graver; with `text` in the message, in whatever case; of the step whose path or
    id is `step`.
    """
    statement = select(RunLog).where(
        RunLog.run_id == run_id, RunLog.workspace == workspace, col(RunLog.id) > after
    )
    if level is not None:
        grave = list(LogLevel)[list(LogLevel).index(level) :]
        statement = statement.where(col(RunLog.level).in_(grave))
    if text:
        statement = statement.where(col(RunLog.message).icontains(text, autoescape=True))
    if step is not None:
        path = col(RunLog.step_path)
        inner = path.endswith(f".{step}", autoescape=True)
        statement = statement.where(sa.or_(path == step, inner))
    statement = statement.order_by(col(RunLog.id)).limit(limit)
    return list((await session.exec(statement)).all())
