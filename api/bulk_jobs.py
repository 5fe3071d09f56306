"""Bulk jobs: what is to be done to what, what that would mean, and starting their workflows."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from api.looping import loop
from api.migrating import judge
from api.models.bulk import BulkOrder, BulkOutlook, BulkPreview, LetterFilter, RunFilter
from api.tenants import Tenants
from db import bulk, dead_letters, definitions, redriving, runs
from db.bulk_tables import BulkJob
from db.dead_letter_table import LetterState
from db.dead_letters import Wanted
from db.engine import Database
from db.redriving import Wish
from schemas.actions import Catalogue
from schemas.bulk import MAX_BULK_ITEMS, BulkAction, BulkCall
from schemas.errors import ConflictError, InputError, LimitError, NotFoundError, SojournError
from schemas.migration import Fit
from workflows.gateway import Gateway

# Items that a preview judges one by one.
PREVIEWED = 100
_SIDE_BY_SIDE = 8
_EVERY = 2.0


@dataclass(frozen=True)
class BulkDesk:
    """Takes orders for bulk jobs of one workspace."""

    database: Database
    gateway: Gateway
    catalogue: Catalogue
    workspace: str

    async def preview(self, order: BulkOrder) -> BulkPreview:
        """Say what an order would mean; nothing changes. Raises InputError, LimitError."""
        ids = await self._ids(order)
        shown = ids[:PREVIEWED]
        if order.action is BulkAction.REDRIVE:
            items = await self._letters(order, shown)
        else:
            slots = asyncio.Semaphore(_SIDE_BY_SIDE)

            async def one(run_id: str) -> BulkOutlook:
                async with slots:
                    return await self._run(order, run_id)

            items = list(await asyncio.gather(*(one(run_id) for run_id in shown)))
        blocked = sum(item.fit is Fit.BLOCKED for item in items)
        return BulkPreview(
            action=order.action,
            count=len(ids),
            safe=len(items) - blocked,
            blocked=blocked,
            items=items,
        )

    async def order(self, order: BulkOrder, *, actor: str) -> BulkJob:
        """Store a job; `start` begins it. Raises InputError, LimitError, ConflictError."""
        ids = await self._ids(order)
        if not ids:
            raise ConflictError("nothing is there to be done", hint="look at the preview")
        parameters: dict[str, Any] = {}
        if order.version is not None:
            parameters["version"] = order.version
        if order.mapping:
            parameters["mapping"] = order.mapping
        if order.reason is not None:
            parameters["reason"] = order.reason
        if order.action is BulkAction.REDRIVE:
            parameters["from"] = order.origin
        async with self.database.session() as session:
            return await bulk.create(
                session,
                self.workspace,
                order.action,
                ids,
                parameters=parameters,
                rate=order.rate,
                actor=actor,
            )

    async def start(self, job: BulkJob) -> None:
        """Start a job's workflow; raises UnavailableError, and the loop then does it later."""
        call = BulkCall(workspace=job.workspace, job_id=job.id, rate=job.rate)
        await self.gateway.start_bulk(call)

    async def start_due(self) -> int:
        """Start what nobody has started; gives how many jobs that were."""
        async with self.database.session() as session:
            due = await bulk.take_due(session, self.workspace)
        for job in due:
            await self.start(job)
        return len(due)

    async def _ids(self, order: BulkOrder) -> list[str]:
        """Give the ids of the items, each once; raises InputError, LimitError."""
        _check(order)
        if order.ids is not None:
            return list(dict.fromkeys(order.ids))
        limit = MAX_BULK_ITEMS + 1
        async with self.database.session() as session:
            if order.action is BulkAction.REDRIVE:
                wanted = wanted_letters(order.letters or LetterFilter())
                found = await dead_letters.ids_of(session, self.workspace, wanted, limit=limit)
            else:
                runs_wanted = _wanted_runs(order.filter or RunFilter())
                found = await bulk.run_ids(session, self.workspace, runs_wanted, limit=limit)
        if len(found) > MAX_BULK_ITEMS:
            raise LimitError(
                f"more than {MAX_BULK_ITEMS} items; that is the limit of a bulk job",
                hint="narrow the filter, by time say",
            )
        return found

    async def _letters(self, order: BulkOrder, ids: Sequence[str]) -> list[BulkOutlook]:
        wish = Wish(version=order.version, origin=order.origin)
        items: list[BulkOutlook] = []
        for letter_id in ids:
            async with self.database.session() as session:
                try:
                    letter = await dead_letters.get(session, self.workspace, letter_id)
                except NotFoundError as error:
                    items.append(_blocked(letter_id, error))
                    continue
                found = await redriving.outlook(session, letter, wish)
            items.append(
                BulkOutlook(
                    id=letter_id,
                    fit=found.fit,
                    reasons=found.reasons,
                    points=found.points,
                    kept=found.kept,
                )
            )
        return items

    async def _run(self, order: BulkOrder, run_id: str) -> BulkOutlook:
        try:
            async with self.database.session() as session:
                run = await runs.get(session, self.workspace, run_id)
                if run.status.terminal:
                    raise ConflictError(f"the run has ended: it is {run.status.value}")
                version = None
                if order.version is not None:
                    version = await definitions.get_version(
                        session, self.workspace, run.definition, order.version
                    )
            if order.action is BulkAction.MIGRATE and version is not None:
                found = await judge(self.gateway, run, version, order.mapping)
                return BulkOutlook(id=run_id, fit=found.fit, reasons=found.reasons)
            points: list[str] = []
            if order.action is BulkAction.RETRY:
                state = await self.gateway.state(run.workflow_id)
                points = [step.path for step in state.steps.values() if step.held]
                if not points:
                    raise ConflictError("no step of the run waits for a decision")
            return BulkOutlook(id=run_id, fit=Fit.SAFE, points=points)
        except SojournError as error:
            return _blocked(run_id, error)


def wanted_letters(given: LetterFilter) -> Wanted:
    """Give a filter for open dead letters as queries take it."""
    return Wanted(state=LetterState.OPEN, **given.model_dump())


def _wanted_runs(given: RunFilter) -> bulk.WantedRuns:
    values = given.model_dump()
    return bulk.WantedRuns(lead_id=values.pop("lead"), **values)


def _check(order: BulkOrder) -> None:
    """Refuse an order whose fields do not go together."""
    redrives = order.action is BulkAction.REDRIVE
    given: list[tuple[str, BaseModel | None]] = [
        ("filter", order.filter),
        ("letters", order.letters),
    ]
    fits, other = given[::-1] if redrives else given
    if other[1] is not None:
        raise InputError(f"{order.action.value!r} takes {fits[0]!r}, not {other[0]!r}")
    if (order.ids is None) == (fits[1] is None):
        raise InputError(f"exactly one of 'ids' and {fits[0]!r} is needed")
    if order.action is BulkAction.MIGRATE and order.version is None:
        raise InputError("'migrate' needs 'version'", path="version")
    if order.version is not None and order.action not in (BulkAction.MIGRATE, BulkAction.REDRIVE):
        raise InputError(f"{order.action.value!r} takes no 'version'", path="version")
    terminates = order.action is BulkAction.TERMINATE
    if terminates and order.reason is None:
        raise InputError("'terminate' needs 'reason'", path="reason")
    if order.reason is not None and not terminates:
        raise InputError(f"{order.action.value!r} takes no 'reason'", path="reason")
    if order.mapping and order.action is not BulkAction.MIGRATE:
        raise InputError(f"{order.action.value!r} takes no 'mapping'", path="mapping")


def _blocked(identity: str, error: SojournError) -> BulkOutlook:
    return BulkOutlook(id=identity, fit=Fit.BLOCKED, reasons=[error.message])


async def run_bulk_jobs(desk: BulkDesk, tenants: Tenants) -> None:
    """Start what nobody has started in any workspace, again and again until cancelled."""

    async def one(workspace: str) -> None:
        await replace(desk, workspace=workspace).start_due()

    await loop(lambda: tenants.each(one), every=_EVERY, failed="bulk_start_failed")
