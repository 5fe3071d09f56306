"""Seals the audit every few minutes, and says each seal's digest in the log, which is elsewhere."""

import structlog

from api.looping import loop
from db.audit_seals import BATCH, seal
from db.engine import Database

EVERY = 300.0
_log = structlog.get_logger(__name__)


async def run_audit_seals(database: Database, *, every: float = EVERY) -> None:
    """Seal what has been added, again and again until cancelled; one process at a time does."""

    async def once() -> None:
        while made := await seal(database):
            for each in made:
                _log.info(
                    "audit_sealed",
                    workspace=each.workspace,
                    number=each.number,
                    entries=each.entries,
                    digest=each.digest,
                )
            if sum(each.entries for each in made) < BATCH:
                return

    await loop(once, every=every, failed="audit_not_sealed")
