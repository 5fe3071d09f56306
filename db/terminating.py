"""Runs that were terminated: their rows have the end at once, before the reconciler comes by."""

from sqlmodel.ext.asyncio.session import AsyncSession

from db.projection import close
from schemas.errors import ErrorCode
from schemas.run import ErrorInfo, RunStatus


async def terminated(session: AsyncSession, workspace: str, run_id: str, reason: str) -> bool:
    """Give a run's row the end that somebody wanted; False if it had another one before."""
    error = ErrorInfo(code=ErrorCode.CANCELLED, message=f"terminated: {reason}")
    return await close(session, workspace, run_id, RunStatus.TERMINATED, error=error)
