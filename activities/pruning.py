"""The `prune` activity: deletes rows that are older than the workspace keeps them."""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeats import beating
from activities.services import Services
from db import retention, tenancy
from schemas.errors import ErrorCode, UnavailableError
from schemas.retention import PRUNE

# The rest is done an hour later.
SECONDS = 120.0
_logger = logging.getLogger(__name__)


def build(services: Services) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name=PRUNE)
    async def prune(workspace: str) -> dict[str, Any]:
        if services.database is None:
            raise ApplicationError(
                "this worker has no database", type=str(ErrorCode.DATABASE_UNAVAILABLE)
            )
        try:
            with beating(), tenancy.scope(workspace):
                done = await retention.prune(services.database, workspace, seconds=SECONDS)
        except (UnavailableError, SQLAlchemyError, OSError) as error:
            raise ApplicationError(
                f"pruning broke off: {type(error).__name__}",
                type=str(ErrorCode.DATABASE_UNAVAILABLE),
            ) from error
        _logger.info("pruned %s of %r", done.rows, workspace)
        return {"rows": done.rows, "more": done.more}

    return [prune]
