"""What AI calls cost: a row for each call, written before it is made, and what budgets count.

A call is reserved at an upper estimate; its true cost takes the estimate's place. A call whose end
nobody knows (a worker died, a model was too slow) stays reserved: it may have been paid for.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id

USD = sa.Numeric(18, 9)
# Tokens and dollars that no counter reaches: where a budget sets no limit.
_WITHOUT = Decimal(10**8)
_WITHOUT_TOKENS = 2**60


class CallState(StrEnum):
    """What is known of a call: made or under way, answered, or refused without cost."""

    RESERVED = "reserved"
    SETTLED = "settled"
    FAILED = "failed"


class AiUsage(SQLModel, table=True):
    """One call to a model. `cost` is in USD, None where the model has no known price.

    `held_cost` and `held_tokens` are what budgets count: the estimate until the call is settled.
    `budget_run_id` is the run whose budget it counts against: of a batch, the run above.
    `budget_above` are the runs that wait for that one, whose budgets count it, too.
    """

    __tablename__ = "ai_usage"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index("ix_ai_usage_at", "workspace", "at"),
        sa.Index("ix_ai_usage_run", "budget_run_id", "at"),
        sa.Index("ix_ai_usage_definition", "workspace", "definition", "at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    definition: str
    run_id: str
    budget_run_id: str
    budget_above: list[str] | None = Field(default=None, sa_type=JSON_TEXT)
    step_path: str
    step_key: str
    provider: str
    model: str
    state: CallState = Field(default=CallState.RESERVED, sa_type=enum_type(CallState))
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = Field(default=None, sa_type=USD)
    price_known: bool = False
    held_cost: Decimal = Field(default=Decimal(0), sa_type=USD)
    held_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    cached: bool = False
    repair: bool = False
    at: datetime = Field(default_factory=now)
    settled_at: datetime | None = None


class AiSpending(SQLModel, table=True):
    """What the budget of a run (`run/{id}`) or of a day (`day/2026-01-31`, UTC) has counted."""

    __tablename__ = "ai_spending"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.Index("ix_ai_spending_updated", "workspace", "updated_at"),)

    workspace: str = Field(primary_key=True)
    scope: str = Field(primary_key=True)
    cost: Decimal = Field(default=Decimal(0), sa_type=USD)
    tokens: int = Field(default=0, sa_type=sa.BigInteger)
    updated_at: datetime = Field(default_factory=now)


class Allowance(BaseModel):
    """What a scope may spend; None is without limit."""

    usd: Decimal | None = None
    tokens: int | None = None


class Spent(BaseModel):
    """What a scope has spent, calls under way at their estimate."""

    usd: Decimal = Decimal(0)
    tokens: int = 0


def run_scope(run_id: str) -> str:
    """Name the budget of a run."""
    return f"run/{run_id}"


def day_scope(moment: datetime) -> str:
    """Name the budget of a day."""
    return f"day/{moment.astimezone(UTC).date().isoformat()}"


def _scopes(row: AiUsage) -> list[str]:
    # Always in this order, from below to above, so that two calls never wait for each other.
    runs = [row.budget_run_id, *(row.budget_above or [])]
    return [*(run_scope(run_id) for run_id in runs), day_scope(row.at)]


async def spent(session: AsyncSession, workspace: str, scope: str) -> Spent:
    """Return what a scope has spent so far."""
    statement = sa.select(col(AiSpending.cost), col(AiSpending.tokens)).where(
        col(AiSpending.workspace) == workspace, col(AiSpending.scope) == scope
    )
    found = (await (await session.connection()).execute(statement)).first()
    return Spent() if found is None else Spent(usd=found[0], tokens=found[1])


async def reserve(
    session: AsyncSession, row: AiUsage, runs: Sequence[Allowance], workspace: Allowance
) -> tuple[str, Allowance] | None:
    """Store a call before it is made, and count its estimate; gives the scope that lacks room.

    `runs` are what the run may spend, and those above it. Where a scope comes with what it may
    spend, the caller must roll back: the call may not be made.
    """
    for scope, limit in zip(_scopes(row), (*runs, workspace), strict=True):
        if not await _count(session, row.workspace, scope, row.held_cost, row.held_tokens, limit):
            return scope, limit
    session.add(row)
    await session.flush()
    return None


async def _count(
    session: AsyncSession, workspace: str, scope: str, cost: Decimal, tokens: int, limit: Allowance
) -> bool:
    """Add to a counter where the sum stays within the limit: one statement, so no two overrun."""
    usd = _WITHOUT if limit.usd is None else limit.usd
    most = _WITHOUT_TOKENS if limit.tokens is None else limit.tokens
    if cost > usd or tokens > most:
        return False
    inserting = insert(AiSpending).values(
        workspace=workspace, scope=scope, cost=cost, tokens=tokens, updated_at=now()
    )
    adding = inserting.on_conflict_do_update(
        index_elements=["workspace", "scope"],
        set_={
            "cost": AiSpending.cost + cost,
            "tokens": AiSpending.tokens + tokens,
            "updated_at": sa.func.now(),
        },
        where=sa.and_(col(AiSpending.cost) + cost <= usd, col(AiSpending.tokens) + tokens <= most),
    ).returning(col(AiSpending.scope))
    return (await (await session.connection()).execute(adding)).first() is not None


async def settle(
    session: AsyncSession,
    row: AiUsage,
    *,
    model: str,
    input_tokens: int,
    output_tokens: int,
    cost: Decimal | None,
) -> None:
    """Write what a call has really cost; budgets count that from now on."""
    await _end(
        session,
        row,
        CallState.SETTLED,
        cost or Decimal(0),
        input_tokens + output_tokens,
        {
            "model": model,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cost": cost,
        },
    )


async def release(session: AsyncSession, row: AiUsage) -> None:
    """Take back a call that the provider refused or never got: it costs nothing."""
    await _end(session, row, CallState.FAILED, Decimal(0), 0, {"cost": Decimal(0)})


async def _end(
    session: AsyncSession,
    row: AiUsage,
    state: CallState,
    cost: Decimal,
    tokens: int,
    values: dict[str, object],
) -> None:
    statement = (
        sa.update(AiUsage)
        .where(col(AiUsage.id) == row.id, col(AiUsage.state) == CallState.RESERVED)
        .values(state=state, held_cost=cost, held_tokens=tokens, settled_at=now(), **values)
        .execution_options(synchronize_session=False)
    )
    if (await session.exec(statement)).rowcount == 0:
        return
    for scope in _scopes(row):
        change = (
            sa.update(AiSpending)
            .where(col(AiSpending.workspace) == row.workspace, col(AiSpending.scope) == scope)
            .values(
                cost=col(AiSpending.cost) + (cost - row.held_cost),
                tokens=col(AiSpending.tokens) + (tokens - row.held_tokens),
                updated_at=now(),
            )
            .execution_options(synchronize_session=False)
        )
        await session.exec(change)


async def note_cached(session: AsyncSession, row: AiUsage) -> None:
    """Store a call that was answered from the cache: no tokens, no cost."""
    row.state, row.cached, row.settled_at = CallState.SETTLED, True, now()
    row.cost, row.price_known = Decimal(0), True
    session.add(row)
    await session.flush()
