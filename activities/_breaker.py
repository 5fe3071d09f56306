"""The circuit breaker before a model: shared by all workers through `db.ai_breakers`."""

import logging

from sqlmodel.ext.asyncio.session import AsyncSession

from activities._questions import Endpoint, ModelFault
from activities.errors import ActionError
from activities.masking import masked
from db import ai_breakers
from db.ai_breakers import Permit, Thresholds
from schemas.errors import ErrorCode

_logger = logging.getLogger(__name__)


async def enter(session: AsyncSession, endpoint: Endpoint, thresholds: Thresholds) -> Permit:
    """Take leave to call an endpoint; raises ActionError CIRCUIT_OPEN with the time to wait."""
    given = await ai_breakers.permit(session, endpoint.workspace, endpoint.circuit, thresholds)
    if not given.allowed:
        raise ActionError(
            f"{endpoint.provider} has failed too often of late; it is not asked for now",
            code=ErrorCode.CIRCUIT_OPEN,
            retry_after=given.retry_after,
            details={"provider": endpoint.provider, "model": endpoint.model},
        )
    return given


async def report(
    session: AsyncSession,
    endpoint: Endpoint,
    given: Permit,
    thresholds: Thresholds,
    fault: ActionError | None = None,
) -> None:
    """Tell the circuit how a call went: any answer, also a refusal, says that somebody is there."""
    if isinstance(fault, ModelFault) and fault.down:
        # Vendors say which key was wrong, and the row outlives the attempt.
        said = masked(fault.message)
        opened = await ai_breakers.failed(
            session, endpoint.workspace, endpoint.circuit, given, thresholds, said
        )
        if opened:
            _logger.warning(
                "the circuit of %s is open for %s: %s",
                endpoint.circuit,
                thresholds.open_for,
                said,
            )
    elif fault is None or isinstance(fault, ModelFault):
        await ai_breakers.succeeded(
            session, endpoint.workspace, endpoint.circuit, given, thresholds
        )
