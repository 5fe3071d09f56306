"""Effects that must not happen twice: claimed in the ledger before, closed after, else parked.

For actions whose steps may say `delivery: at_most_once`; `email` does the same with its own rows.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.context import ActionContext
from activities.errors import ActionError, may_have_happened
from activities.masking import masked
from db import deliveries, parked_sends
from db.deliveries import Delivery, DeliveryState
from db.engine import Database
from db.mail_messages import MailMessage, MailState
from schemas.errors import ErrorCode, SojournError
from schemas.run import ErrorInfo

LOST = "an earlier attempt was lost before it could say what became of it"
_RECORD_DELAYS = (0.1, 0.3, 0.6)  # seconds before each new try to close a row
_RECORD_SECONDS = 3.0
_AWAY = (SojournError, SQLAlchemyError, OSError)
_HINT = "mark it as sent, or send it again: see the dead letters of kind 'send'"
_logger = logging.getLogger(__name__)


def idempotency_key(step_key: str) -> str:
    """Give what a receiver can know a step's effect by: the same over all attempts."""
    return hashlib.sha256(step_key.encode()).hexdigest()


async def once(
    name: str, context: ActionContext, perform: Callable[[], Awaitable[Any]]
) -> dict[str, Any]:
    """Let an action take effect at most once; `perform` gives its result as JSON values.

    An effect that is known to have happened gives the earlier result. One in doubt, of this
    attempt or an earlier one, is parked: raises ActionError DELIVERY_UNKNOWN, which is final.
    Errors after which the effect is known not to have happened are raised as they are.
    """
    database = context.services.database
    if database is None:
        raise no_books()
    earlier = await _claim(database, name, context)
    if earlier is not None:
        return earlier
    try:
        result = await perform()
    except Exception as error:
        await _failed(database, context, error)
        raise
    key = context.step.key

    async def sent() -> None:
        async with database.session() as session:
            await deliveries.close(session, key, DeliveryState.SENT, result=result)

    await _unless_away("sent", key, sent)
    return result


async def _claim(database: Database, name: str, context: ActionContext) -> dict[str, Any] | None:
    """Claim the effect, or give the result that it has had."""
    step = context.step
    async with database.session() as session:
        if context.spent:
            row = await deliveries.find(session, step.key)
            if row is None or row.state is DeliveryState.FAILED:
                raise spent()
        else:
            new = Delivery(
                step_key=step.key,
                workspace=step.workspace,
                run_id=step.run_id,
                definition=step.definition,
                step_path=step.path,
                action=name,
                reference=idempotency_key(step.key),
            )
            row = await deliveries.claim(session, new)
            if row is None:
                return None
        if row.state is DeliveryState.SENT:
            return row.result or {}
        error = unknown(row.error or LOST, row.reference)
        await park(session, row, error)
    raise error


async def _failed(database: Database, context: ActionContext, error: Exception) -> None:
    """Release the claim after an error that tells that nothing happened; else park it, and raise.

    A ledger that is away meanwhile leaves the claim as it is: the next attempt parks it.
    """
    step = context.step
    told = masked(str(error)) or type(error).__name__
    if not may_have_happened(error):

        async def release() -> None:
            async with database.session() as session:
                await deliveries.close(session, step.key, DeliveryState.FAILED, error=told)

        await _unless_away("not sent", step.key, release)
        return
    fault = unknown(told, idempotency_key(step.key))
    async with database.session() as session:
        row = await deliveries.find(session, step.key)
        if row is not None and row.state is not DeliveryState.SENT:
            await park(session, row, fault)
    raise fault from error


async def park(session: AsyncSession, row: Delivery | MailMessage, error: ActionError) -> None:
    """Write that nobody knows what became of an effect, with its dead letter; no second time."""
    if isinstance(row, MailMessage):
        parked, row.state = row.state is MailState.UNKNOWN, MailState.UNKNOWN
    else:
        parked, row.state = row.state is DeliveryState.UNKNOWN, DeliveryState.UNKNOWN
    if parked:
        return
    row.error = error.message
    session.add(row)
    info = ErrorInfo(code=error.code, message=error.message, step=row.step_path)
    await parked_sends.park(session, row, info)


def unknown(why: str, reference: str) -> ActionError:
    """Give the error of an effect in doubt; `reference` is what the other side knows it by."""
    prefix = "it may have taken effect, or not: "
    return ActionError(
        prefix + why.removeprefix(prefix),
        code=ErrorCode.DELIVERY_UNKNOWN,
        retryable=False,
        hint=_HINT,
        details={"reference": reference},
    )


def spent() -> ActionError:
    """Give the error of a step whose workers were lost, the last one before it could begin."""
    return ActionError(
        "the worker of the last attempt was lost; nothing was sent",
        code=ErrorCode.STEP_TIMEOUT,
        retryable=False,
    )


def no_books() -> ActionError:
    """Give the error of a worker that has no database."""
    return ActionError(
        "'delivery: at_most_once' needs a database",
        code=ErrorCode.INVALID_INPUT,
        retryable=False,
    )


async def _unless_away(what: str, key: str, store: Callable[[], Awaitable[None]]) -> None:
    """Close a row, with some tries: what has happened must not be undone by the ledger."""
    try:
        async with asyncio.timeout(_RECORD_SECONDS):
            for delay in _RECORD_DELAYS:
                try:
                    return await store()
                except _AWAY:
                    await asyncio.sleep(delay)
            return await store()
    except (*_AWAY, TimeoutError):
        _logger.exception("the ledger does not know that %s is %s", key, what)
