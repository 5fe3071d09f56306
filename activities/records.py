"""The `record` activity: writes a run's changes to its row, in one transaction."""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.services import Services
from db import runs, tenancy
from schemas.errors import ErrorCode, SojournError
from schemas.keeping import kept
from schemas.run import FinalOutcome, Projection

_logger = logging.getLogger(__name__)


def build(services: Services) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name="record")
    async def record(projection: Any) -> dict[str, Any]:
        parsed = Projection.model_validate(projection)
        for step in parsed.steps:
            step.input = kept(services.ai_keep, step.type, step.input)
            step.output = kept(services.ai_keep, step.type, step.output)
        with tenancy.scope(parsed.workspace):
            before = await apply(services, parsed, activity.info().workflow_run_id)
        answer = changes(parsed)
        if before is not None:
            answer["ended"] = before.model_dump(mode="json")
        return answer

    return [record]


def changes(projection: Projection) -> dict[str, Any]:
    """Say in short what a projection changed; kept in history, where event streams read it."""
    shown = {"path", "type", "status", "until", "note", "error"}
    return {
        "status": projection.status.value,
        "steps": [
            step.model_dump(mode="json", include=shown, exclude_none=True)
            for step in projection.steps
        ],
    }


async def apply(
    services: Services, projection: Projection, execution: str | None = None
) -> FinalOutcome | None:
    """Apply one projection; gives the end that `execution` itself has written before, if any.

    While the database is away every attempt fails with a retryable error, without limit on our
    side: a run waits for its row rather than failing.
    """
    if services.database is None:
        raise ApplicationError(
            "this worker has no database", type=str(ErrorCode.DATABASE_UNAVAILABLE)
        )
    try:
        async with services.database.engine.connect() as connection:
            # A projection is one statement: it needs no BEGIN and COMMIT around it.
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            if await runs.project(connection, projection, execution) or execution is None:
                return None
            return await runs.ended_as(connection, projection, execution)
    except (SojournError, SQLAlchemyError, OSError) as error:
        _logger.warning("run %s is not recorded yet: %s", projection.run_id, error)
        raise ApplicationError(
            f"the run is not recorded yet: {type(error).__name__}",
            type=str(ErrorCode.DATABASE_UNAVAILABLE),
        ) from error
