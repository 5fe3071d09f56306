"""Moving open runs to another version: first what it would mean, then, if confirmed, doing it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from api.models.migrations import RunMigration
from api.publishing import definition_of
from db import audit, operator_log
from db.definitions import Version
from db.engine import Database
from db.runs import Run
from schemas.actions import Catalogue, action_timeouts
from schemas.errors import ConflictError, NotFoundError, SojournError, UnavailableError
from schemas.masking import Masking
from schemas.migration import Fit, compatibility
from schemas.operations import Migrate
from workflows.gateway import Gateway

# Many runs are asked at once: a worker may have to replay each of them first.
_SIDE_BY_SIDE = 8
_DEADLINE = 10.0


@dataclass(frozen=True)
class Migrator:
    """Migrates runs to one version."""

    database: Database
    gateway: Gateway
    catalogue: Catalogue
    version: Version
    mapping: Mapping[str, str]
    actor: str
    masking: Masking

    async def all(self, runs: list[Run], *, confirm: bool) -> list[RunMigration]:
        """Classify each run, and migrate those that fit if that is confirmed."""
        places = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def one(run: Run) -> RunMigration:
            async with places:
                return await self.one(run, confirm=confirm)

        return list(await asyncio.gather(*(one(run) for run in runs)))

    async def one(self, run: Run, *, confirm: bool) -> RunMigration:
        """Classify a run by what it has begun, and migrate it if it fits and that is confirmed."""
        found = await judge(self.gateway, run, self.version, self.mapping)
        if confirm and found.fit != Fit.BLOCKED:
            await self._migrate(run, found)
        return found

    async def _migrate(self, run: Run, found: RunMigration) -> None:
        order = Migrate(
            definition=definition_of(self.version),
            version=self.version.version,
            mapping=dict(self.mapping),
            timeouts=action_timeouts(self.catalogue),
            by=self.actor,
        )
        try:
            await self.gateway.order(run.workflow_id, order, deadline=_DEADLINE)
        except SojournError as error:
            found.reasons.append(error.message)
            if not isinstance(error, UnavailableError):
                found.fit = Fit.BLOCKED
            return
        found.migrated = True
        about = {"from": run.version, "to": self.version.version}
        async with self.database.session() as session:
            audit.add(
                session,
                run.workspace,
                actor=self.actor,
                action="run.migrate",
                subject=run.id,
                data=about,
            )
            await operator_log.note(
                session,
                run.workspace,
                run.id,
                "run.migrate",
                about,
                actor=self.actor,
                masking=self.masking,
            )


async def judge(
    gateway: Gateway, run: Run, version: Version, mapping: Mapping[str, str]
) -> RunMigration:
    """Classify a run by what it has begun; a run that does not answer is blocked."""
    try:
        state = await gateway.state(run.workflow_id, deadline=_DEADLINE)
    except (UnavailableError, NotFoundError, ConflictError) as error:
        return RunMigration(id=run.id, fit=Fit.BLOCKED, reasons=[error.message])
    if state.status.terminal:
        return RunMigration(id=run.id, fit=Fit.BLOCKED, reasons=["the run has ended"])
    verdict = compatibility(state, definition_of(version), mapping)
    return RunMigration(id=run.id, fit=verdict.fit, reasons=verdict.reasons)
