"""Re-driving dead letters: a new run from the failed step or the start, once per dead letter."""

from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit, dead_letters, definitions, run_steps, runs, webhooks
from db.base import now
from db.dead_letter_table import DeadLetter, LetterKind, LetterState
from db.definitions import Version
from db.events import Published
from db.locks import try_lock
from db.ordering import order_run, refuse_unpublished
from db.resumed_steps import began, state_of
from db.run_table import Run
from schemas.definition import Definition
from schemas.errors import ConflictError, InputError, NotFoundError, SojournError
from schemas.migration import Fit, compatibility
from schemas.resuming import Course, kept_steps, restart_points
from schemas.run import RunState
from schemas.validation import check_input

Origin = Literal["failed_step", "start"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How to try again: in which version, with which input, and from where."""

    version: int | None = None
    input: dict[str, Any] | None = None
    origin: Origin = "failed_step"


@dataclass(frozen=True)
class Outlook:
    """What re-driving a dead letter would mean; `reasons` are against it.

    `points` are the steps from which it would go on, `kept` those whose results it would keep.
    """

    fit: Fit
    reasons: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Redriven:
    """A dead letter that was re-driven; `forward` is left to be done after the commit."""

    letter: DeadLetter
    run_id: str | None
    forward: Published


async def redrive(
    session: AsyncSession, workspace: str, letter_id: str, wish: Wish, *, actor: str
) -> Redriven:
    """Try a dead letter again: orders its new run, or uses its delivery again.

    Whoever is first does it: all others get a ConflictError at once, none waits. Raises as
    `order_run` and `webhooks.replay` do, NotFoundError, and ConflictError where finished results
    do not fit the version; then the dead letter is open as before, if the transaction ends.
    """
    letter = await _claim(session, workspace, letter_id, actor)
    _refuse_blocked(letter)
    if letter.kind is LetterKind.DELIVERY:
        forward, run_id = await _replay(session, letter, wish, actor)
    else:
        run_id = await _again(session, letter, wish, actor)
        forward = Published(run_id, matched=0, started=1, run_ids=[run_id])
        letter.new_run_id = run_id
        await _settle_others(session, letter, actor)
    audit.add(
        session,
        workspace,
        actor=actor,
        action="dead_letter.redrive",
        subject=letter_id,
        data={
            "run_id": run_id,
            "redrive": letter.redrives,
            "from": wish.origin,
            "version": wish.version,
            "input": wish.input is not None,
        },
    )
    session.add(letter)
    await session.flush()
    return Redriven(letter, run_id, forward)


async def outlook(session: AsyncSession, letter: DeadLetter, wish: Wish) -> Outlook:
    """Say what re-driving would mean; nothing changes."""
    if letter.state is not LetterState.OPEN:
        return Outlook(Fit.BLOCKED, [dead_letters.not_open(letter).message])
    try:
        _refuse_blocked(letter)
        if letter.kind is LetterKind.DELIVERY:
            _refuse_for_delivery(wish)
            return Outlook(Fit.SAFE)
        run = await _run_of(session, letter)
        version = await _version(session, run, wish)
        check_input(
            version.document.get("input") or {"type": "object"},
            run.input if wish.input is None else wish.input,
        )
        if wish.origin == "start":
            return Outlook(Fit.SAFE)
        return await _judge(session, await _source(session, run), version)
    except SojournError as error:
        return Outlook(Fit.BLOCKED, [error.message])


def _refuse_blocked(letter: DeadLetter) -> None:
    if letter.kind is LetterKind.BLOCKED:
        raise ConflictError(
            "the run has not ended: Temporal cannot get it on",
            hint=f"mend what holds it up, then POST /api/v1/runs/{letter.run_id}/unblock",
        )


async def _claim(session: AsyncSession, workspace: str, letter_id: str, actor: str) -> DeadLetter:
    """Take the dead letter for this transaction, or raise ConflictError, NotFoundError.

    A row that another transaction has taken is passed over: with a plain update all others would
    wait for the first one's commit, each with a connection.
    """
    free = (
        sa.select(col(DeadLetter.id))
        .where(
            col(DeadLetter.id) == letter_id,
            col(DeadLetter.workspace) == workspace,
            col(DeadLetter.state) == LetterState.OPEN,
        )
        .with_for_update(skip_locked=True)
    )
    statement = (
        sa.update(DeadLetter)
        .where(
            col(DeadLetter.id) == free.scalar_subquery(),
            col(DeadLetter.state) == LetterState.OPEN,
        )
        .values(
            state=LetterState.REDRIVING,
            redrives=col(DeadLetter.redrives) + 1,
            actor=actor,
            updated_at=now(),
        )
        .returning(DeadLetter)
        .execution_options(populate_existing=True)
    )
    letter = (await session.exec(statement)).scalars().first()
    if letter is None:
        raise dead_letters.not_open(await dead_letters.get(session, workspace, letter_id))
    return letter


async def _settle_others(session: AsyncSession, letter: DeadLetter, actor: str) -> None:
    """Let the other dead letters of the run go with this one: its parked sends, and itself."""
    theirs = sa.and_(
        col(DeadLetter.run_id) == letter.run_id,
        col(DeadLetter.id) != letter.id,
        col(DeadLetter.state) == LetterState.OPEN,
    )
    # Locked rows are passed over: whoever has one of them would wait for this one.
    free = sa.select(col(DeadLetter.id)).where(theirs).with_for_update(skip_locked=True)
    statement = (
        sa.update(DeadLetter)
        .where(col(DeadLetter.id).in_(free))
        .values(
            new_run_id=letter.new_run_id,
            actor=actor,
            **dead_letters.settled(LetterState.REDRIVEN),
        )
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def _again(session: AsyncSession, letter: DeadLetter, wish: Wish, actor: str) -> str:
    """Order the new run of a dead letter."""
    run = await _run_of(session, letter)
    await _refuse_twice(session, letter)
    resumes: Run | None = None
    if wish.origin == "failed_step":
        resumes = await _source(session, run)
        found = await _judge(session, resumes, await _version(session, run, wish))
        if found.fit is Fit.BLOCKED:
            raise ConflictError("; ".join(found.reasons), hint="name a version that fits")
    ordered = await order_run(
        session,
        letter.workspace,
        definition=run.definition,
        input=run.input if wish.input is None else wish.input,
        lead_id=run.lead_id,
        version=wish.version or run.version,
        priority=run.priority,
        correlation_id=run.correlation_id,
        actor=actor,
    )
    statement = (
        sa.update(Run)
        .where(col(Run.id) == ordered.run_id)
        .values(redrive_of=letter.id, resumes_from=resumes.id if resumes else None)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
    return ordered.run_id


async def _refuse_twice(session: AsyncSession, letter: DeadLetter) -> None:
    """Refuse a run that is, or was, re-driven by another of its dead letters."""
    others = sa.select(col(DeadLetter.id)).where(
        col(DeadLetter.run_id) == letter.run_id,
        col(DeadLetter.id) != letter.id,
        col(DeadLetter.new_run_id).is_not(None),
    )
    free = await try_lock(session, f"redrive/{letter.run_id}")
    if not free or (await (await session.connection()).execute(others)).first() is not None:
        raise ConflictError("the run was re-driven by another of its dead letters")


async def _replay(
    session: AsyncSession, letter: DeadLetter, wish: Wish, actor: str
) -> tuple[Published, str | None]:
    _refuse_for_delivery(wish)
    taken, run_id = await webhooks.replay(
        session, letter.workspace, letter.subject_id, actor=actor, correlation_id=None
    )
    letter.state, letter.settled_at = LetterState.REDRIVEN, now()
    letter.new_run_id = run_id
    return taken.forward or Published(letter.subject_id, matched=0, started=0), run_id


def _refuse_for_delivery(wish: Wish) -> None:
    if wish.version is not None or wish.input is not None:
        raise InputError(
            "a delivery is used again as its trigger maps it",
            hint="change the trigger's input, or the definition, and re-drive it without either",
        )


async def _run_of(session: AsyncSession, letter: DeadLetter) -> Run:
    assert letter.run_id is not None, "runs and sends have a run"
    try:
        run = await runs.get(session, letter.workspace, letter.run_id)
    except NotFoundError as error:
        raise ConflictError("the run of this dead letter was pruned") from error
    if run.status not in dead_letters.DEAD:
        raise ConflictError(
            f"the run of this dead letter is {run.status.value}: there is nothing to go on from",
            hint="mark it as sent, or send it again"
            if letter.kind is LetterKind.SEND and not run.status.terminal
            else "discard it",
        )
    if run.parent_run_id is not None and not run.detached:
        raise ConflictError("the run belongs to another one", hint=f"see {run.parent_run_id}")
    return run


async def _source(session: AsyncSession, run: Run) -> Run:
    """Give the run whose results count: of one that never began, the one it was to go on from."""
    while not began(run) and run.resumes_from is not None:
        try:
            run = await runs.get(session, run.workspace, run.resumes_from)
        except NotFoundError as error:
            raise ConflictError("the run to go on from was pruned") from error
    return run


async def _version(session: AsyncSession, run: Run, wish: Wish) -> Version:
    number = wish.version or run.version
    version = await definitions.get_version(session, run.workspace, run.definition, number)
    refuse_unpublished(run.definition, version)
    return version


async def _judge(session: AsyncSession, run: Run, version: Version) -> Outlook:
    """Judge by the rows whether the run's finished steps fit a version."""
    own = version
    if version.version != run.version:
        own = await definitions.get_version(session, run.workspace, run.definition, run.version)
    definition = Definition.model_validate(own.document)
    rows = await run_steps.steps(session, run.workspace, run.id)
    steps = {row.path: state_of(row) for row in rows}
    points = restart_points(steps, definition, (run.error or {}).get("step"))
    kept = kept_steps(steps, definition, points)
    state = RunState(started_at=run.created_at, steps=kept)
    new = definition if own is version else Definition.model_validate(version.document)
    verdict = compatibility(state, new)
    reopened = {name for path in points for name in Course.of(definition).around[steps[path].id]}
    done = [path for path, step in kept.items() if step.status.done and step.id not in reopened]
    return Outlook(verdict.fit, verdict.reasons, points, done)
