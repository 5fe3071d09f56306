"""The quota of one run: what it may be sent from outside until it continues as new."""

from db import run_quotas
from db.engine import Database
from schemas.errors import LimitError
from schemas.run import MAX_EVENTS
from workflows.gateway import Gateway


async def grant(
    database: Database, gateway: Gateway, run_id: str, workflow_id: str, size: int
) -> None:
    """Count one signal of so many bytes; raises LimitError where the run has had its share.

    Temporal itself would refuse every signal after 10,000, also those that pause and resume.
    """
    async with database.session() as session:
        if not await run_quotas.take(session, [(run_id, size)]):
            return
    found = await gateway.describe(workflow_id)
    if found is not None:
        async with database.session() as session:
            if await run_quotas.renew(session, run_id, found.run_id) and not (
                await run_quotas.take(session, [(run_id, size)])
            ):
                return
    raise LimitError(
        f"the run was sent {MAX_EVENTS:,} signals and events since it last continued as new;"
        " that is the limit",
        hint="try again in some seconds: the run makes room by itself",
    )
