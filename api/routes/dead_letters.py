"""/dead-letters: what failed for good, to look at, to try again and to give up."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Response

from api.dependencies import ActorDep, ConfigDep, DatabaseDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.bulk import BulkJobView, BulkOrder, BulkPreview
from api.models.common import PageDep
from api.models.dead_letters import (
    DeadLetterGroup,
    DeadLetterGroups,
    DeadLetterPage,
    DeadLetterView,
    Discard,
    MarkSent,
    Redrive,
    RedriveAnswer,
    RedriveMany,
    SendDecided,
)
from api.outbox import Outbox
from api.parked_sends import Decided, decide
from api.routes.bulk import PREVIEW_OR_JOB, DeskDep, take
from api.routes.operators import DeskDep as RunDeskDep
from api.routes.runs import StarterDep
from db import dead_letters, operator_log, redriving
from db.dead_letter_table import DeadLetter, LetterKind, LetterState
from db.dead_letters import Wanted
from schemas.bulk import BulkAction
from schemas.definition import DefinitionName
from schemas.errors import InputError
from schemas.run import MAX_OUTPUT_BYTES
from schemas.validation import check_size

router = APIRouter(tags=["dead letters"], prefix="/dead-letters")

LetterPath = Annotated[str, Path(min_length=1, max_length=64, description="the dead letter's id")]


def _wanted(
    state: Annotated[LetterState | None, Query()] = None,
    kind: Annotated[LetterKind | None, Query()] = None,
    definition: Annotated[DefinitionName | None, Query()] = None,
    code: Annotated[str | None, Query(max_length=64)] = None,
    fingerprint: Annotated[str | None, Query(max_length=64)] = None,
    run: Annotated[str | None, Query(max_length=64, description="a run's id")] = None,
    created_from: Annotated[datetime | None, Query(alias="from", description="included")] = None,
    created_to: Annotated[datetime | None, Query(alias="to", description="not included")] = None,
) -> Wanted:
    for name, moment in (("from", created_from), ("to", created_to)):
        if moment is not None and moment.tzinfo is None:
            raise InputError(f"{name!r} needs a time zone", hint="2026-01-31T12:00:00Z")
    return Wanted(
        state=state,
        kind=kind,
        definition=definition,
        code=code,
        fingerprint=fingerprint,
        run_id=run,
        created_from=created_from,
        created_to=created_to,
    )


WantedDep = Annotated[Wanted, Depends(_wanted)]


@router.get("", responses=problems())
async def list_dead_letters(
    session: SessionDep, workspace: WorkspaceDep, wanted: WantedDep, page: PageDep
) -> DeadLetterPage:
    """Dead letters, the last first."""
    found = await dead_letters.list_page(
        session, workspace, wanted, cursor=page.cursor, limit=page.limit
    )
    return DeadLetterPage(items=[_view(row) for row in found.items], next_cursor=found.next_cursor)


@router.get("/groups", responses=problems())
async def group_dead_letters(
    session: SessionDep,
    workspace: WorkspaceDep,
    wanted: WantedDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DeadLetterGroups:
    """Dead letters by what has caused them, the largest group first."""
    found = await dead_letters.groups(session, workspace, wanted, limit=limit)
    return DeadLetterGroups(
        items=[
            DeadLetterGroup(
                fingerprint=group.fingerprint,
                count=group.count,
                first=group.first,
                last=group.last,
                redrives=group.redrives,
                sample=_view(group.sample),
            )
            for group in found
        ]
    )


@router.post(
    "/redrive",
    status_code=202,
    response_model=None,
    responses={**PREVIEW_OR_JOB, **problems(400, 404, 409, 413)},
)
async def redrive_dead_letters(
    body: RedriveMany, desk: DeskDep, actor: ActorDep, response: Response, after: BackgroundTasks
) -> BulkPreview | BulkJobView:
    """Try many dead letters again, so many a second: a bulk job with a result for each."""
    order = BulkOrder.model_validate(
        {
            "action": BulkAction.REDRIVE,
            "letters": body.filter,
            **body.model_dump(exclude={"filter"}, by_alias=True),
        }
    )
    return await take(order, desk, actor, response, after)


@router.get("/{letter_id}", responses=problems(404))
async def get_dead_letter(
    letter_id: LetterPath, session: SessionDep, workspace: WorkspaceDep
) -> DeadLetterView:
    """One dead letter."""
    return _view(await dead_letters.get(session, workspace, letter_id))


@router.post(
    "/{letter_id}/redrive",
    status_code=202,
    responses={
        200: {"model": RedriveAnswer, "description": "What would happen; nothing was done"},
        **problems(400, 404, 409, 413, 429),
    },
)
async def redrive_dead_letter(
    letter_id: LetterPath,
    body: Redrive,
    database: DatabaseDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    config: ConfigDep,
    starter: StarterDep,
    response: Response,
    after: BackgroundTasks,
) -> RedriveAnswer:
    """Try it again, once: whoever comes second is told 409.

    A run goes on in a new run from its failed step, or from the start; a delivery is used again.
    """
    wish = redriving.Wish(version=body.version, input=body.input, origin=body.origin)
    if body.preview:
        response.status_code = 200
        async with database.session() as session:
            letter = await dead_letters.get(session, workspace, letter_id)
            found = await redriving.outlook(session, letter, wish)
        return RedriveAnswer(
            id=letter.id,
            state=letter.state,
            redrives=letter.redrives,
            fit=found.fit,
            reasons=found.reasons,
            points=found.points,
            kept=found.kept,
        )
    async with database.session() as session:
        done = await redriving.redrive(session, workspace, letter_id, wish, actor=actor)
        await operator_log.note_redrive(session, done, wish, actor=actor, masking=config.masking)
    after.add_task(Outbox(starter).forward, done.forward)
    letter = done.letter
    return RedriveAnswer(
        id=letter.id, state=letter.state, run_id=done.run_id, redrives=letter.redrives
    )


@router.post("/{letter_id}/discard", responses=problems(400, 404, 409, 413))
async def discard_dead_letter(
    letter_id: LetterPath,
    body: Discard,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    config: ConfigDep,
) -> DeadLetterView:
    """Give it up, and say why."""
    letter = await dead_letters.discard(
        session, workspace, letter_id, reason=body.reason, actor=actor
    )
    if letter.run_id is not None:
        await operator_log.note(
            session,
            workspace,
            letter.run_id,
            "dead_letter.discard",
            {"letter": letter.id, "reason": body.reason},
            actor=actor,
            masking=config.masking,
        )
    return _view(letter)


@router.post("/{letter_id}/mark-sent", responses=problems(400, 404, 409, 413))
async def mark_send_sent(
    letter_id: LetterPath, desk: RunDeskDep, body: MarkSent | None = None
) -> SendDecided:
    """Say of a parked send that it was sent: the step that waits completes, with this output."""
    output = {} if body is None else body.output
    check_size(output, MAX_OUTPUT_BYTES, "the output")
    return _decided(await decide(desk, letter_id, sent=True, output=output))


@router.post("/{letter_id}/resend", responses=problems(400, 404, 409))
async def resend_send(letter_id: LetterPath, desk: RunDeskDep) -> SendDecided:
    """Say of a parked send that it was not sent: the step that waits sends it."""
    return _decided(await decide(desk, letter_id, sent=False))


def _decided(done: Decided) -> SendDecided:
    letter = done.letter
    return SendDecided(id=letter.id, state=letter.state, run_id=letter.run_id, status=done.status)


def _view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView.model_validate(
        letter.model_dump(include=set(DeadLetterView.model_fields))
    )
