"""The finished steps of a run that has ended, for one that goes on with their results."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from db.run_steps import RunStep
from db.run_table import Run
from schemas.run import StepState

_NAMES = set(StepState.model_fields) & set(RunStep.model_fields) - {"input"}


def began(run: Run) -> bool:
    """True for a run that Temporal has had; another one failed before it could start."""
    return run.temporal_run_id is not None or run.started_at is not None


def state_of(row: RunStep) -> StepState:
    """Give a step as its row has it: without its choice and what a loop remembers."""
    return StepState.model_validate({name: getattr(row, name) for name in _NAMES})


async def copy_steps(session: AsyncSession, source: str, run_id: str, paths: list[str]) -> None:
    """Copy the rows of finished steps from one run to another, before its own; again is harmless.

    A run's own steps have positions above 100,000.
    """
    table = SQLModel.metadata.tables["run_steps"]
    names = [column.name for column in table.columns if column.name not in ("run_id", "position")]
    place = sa.func.row_number().over(order_by=(table.c.position, table.c.path))
    rows = sa.select(sa.literal(run_id), place, *(table.c[name] for name in names)).where(
        table.c.run_id == source, table.c.path.in_(paths)
    )
    statement = insert(table).from_select(["run_id", "position", *names], rows)
    await (await session.connection()).execute(statement.on_conflict_do_nothing())
