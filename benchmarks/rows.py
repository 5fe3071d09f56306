"""The rows of runs, made in bulk before runs are started, so that their projections find them."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import col

from db.base import now
from db.engine import Database
from db.ids import new_id
from db.runs import Run, workflow_id
from schemas.definition import Definition
from schemas.run import REVISION, RunStart, RunStatus

_BATCH = 500


def starts(definition: Definition, given: dict[str, object], count: int) -> list[RunStart]:
    """Make the starts of `count` runs."""
    return [
        RunStart(
            run_id=new_id(),
            workspace="default",
            definition=definition,
            version=1,
            input=given,
            revision=REVISION,
        )
        for _ in range(count)
    ]


async def insert(database: Database, made: Sequence[RunStart]) -> None:
    """Store a queued row for each start."""
    async with database.session() as session:
        connection = await session.connection()
        for first in range(0, len(made), _BATCH):
            moment = now()
            rows = [
                Run(
                    id=start.run_id,
                    workspace=start.workspace,
                    definition=start.definition.name,
                    version=start.version,
                    input=start.input,
                    workflow_id=workflow_id(start.workspace, start.definition.name, start.run_id),
                    created_at=moment,
                    updated_at=moment,
                    checked_at=moment,
                ).model_dump()
                for start in made[first : first + _BATCH]
            ]
            await connection.execute(sa.insert(Run), rows)


async def count(database: Database, definition: str) -> dict[RunStatus, int]:
    """Count the runs of a definition by status."""
    async with database.session() as session:
        statement = (
            sa.select(col(Run.status), sa.func.count())
            .where(col(Run.definition) == definition)
            .group_by(col(Run.status))
        )
        found = await (await session.connection()).execute(statement)
        return {RunStatus(row[0]): row[1] for row in found}
