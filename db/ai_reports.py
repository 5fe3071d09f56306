"""Sums over the ledger of AI calls: by day, definition, run, step or model."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.ai_ledger import AiUsage, CallState

GroupBy = Literal["day", "definition", "run", "step", "model"]

_DAY = sa.func.to_char(sa.func.timezone("UTC", col(AiUsage.at)), "YYYY-MM-DD")
_KEYS: dict[GroupBy, dict[str, sa.ColumnElement[str]]] = {
    "day": {"day": _DAY},
    "definition": {"definition": sa.type_coerce(col(AiUsage.definition), sa.String)},
    "run": {
        "run_id": sa.type_coerce(col(AiUsage.budget_run_id), sa.String),
        "definition": sa.type_coerce(col(AiUsage.definition), sa.String),
    },
    "step": {
        "definition": sa.type_coerce(col(AiUsage.definition), sa.String),
        # Of all iterations together.
        "step": sa.func.regexp_replace(col(AiUsage.step_path), r"\[[0-9]+\]", "[]", "g"),
    },
    "model": {
        "provider": sa.type_coerce(col(AiUsage.provider), sa.String),
        "model": sa.type_coerce(col(AiUsage.model), sa.String),
    },
}


class UsageSum(BaseModel):
    """What the calls of a group were and cost, in USD.

    `calls` were made and answered; `cached` were answered without a call; `repairs` of the calls
    asked for a correction; `failed` were refused without cost. `open` are under way, or their end
    is unknown: they may cost up to `open_cost`. `unpriced` calls have no known price.
    """

    day: str | None = None
    definition: str | None = None
    run_id: str | None = None
    step: str | None = None
    provider: str | None = None
    model: str | None = None
    calls: int = 0
    cached: int = 0
    repairs: int = 0
    failed: int = 0
    open: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    open_cost: Decimal = Decimal(0)


def _counts() -> list[sa.ColumnElement[Any]]:
    answered = sa.and_(col(AiUsage.state) == CallState.SETTLED, sa.not_(col(AiUsage.cached)))
    waiting = col(AiUsage.state) == CallState.RESERVED

    def count(what: Any) -> sa.ColumnElement[int]:
        return sa.func.count().filter(what)

    def total(what: Any) -> sa.ColumnElement[Any]:
        return sa.func.coalesce(sa.func.sum(what), 0)

    return [
        count(answered).label("calls"),
        count(col(AiUsage.cached)).label("cached"),
        count(sa.and_(answered, col(AiUsage.repair))).label("repairs"),
        count(col(AiUsage.state) == CallState.FAILED).label("failed"),
        count(waiting).label("open"),
        count(sa.and_(answered, col(AiUsage.cost).is_(None))).label("unpriced"),
        total(col(AiUsage.input_tokens)).label("input_tokens"),
        total(col(AiUsage.output_tokens)).label("output_tokens"),
        total(col(AiUsage.cost)).label("cost"),
        sa.func.coalesce(sa.func.sum(col(AiUsage.held_cost)).filter(waiting), 0).label("open_cost"),
    ]


async def sums(
    session: AsyncSession,
    workspace: str,
    group_by: GroupBy,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    definition: str | None = None,
    limit: int = 100,
) -> Sequence[UsageSum]:
    """Return the sums of each group, `until` not included: days newest first, else dearest first.

    At most `limit` groups.
    """
    keys = _KEYS[group_by]
    where: list[sa.ColumnElement[bool]] = [col(AiUsage.workspace) == workspace]
    if since is not None:
        where.append(col(AiUsage.at) >= since)
    if until is not None:
        where.append(col(AiUsage.at) < until)
    if definition is not None:
        where.append(col(AiUsage.definition) == definition)
    counts = _counts()
    # By place: the same expression with parameters would not be recognised as the same.
    groups = [sa.literal_column(str(place + 1)) for place in range(len(keys))]
    order = groups[0].desc() if group_by == "day" else sa.literal_column("cost").desc()
    statement = (
        sa.select(*(key.label(name) for name, key in keys.items()), *counts)
        .where(*where)
        .group_by(*groups)
        .order_by(order, *groups)
        .limit(limit)
    )
    rows = (await (await session.connection()).execute(statement)).mappings()
    return [UsageSum.model_validate(dict(row)) for row in rows]


async def of_run(session: AsyncSession, workspace: str, run_id: str) -> list[UsageSum]:
    """Return the sums of each step of a run, by path, its batches' included."""
    path = sa.type_coerce(col(AiUsage.step_path), sa.String)
    statement = (
        sa.select(path.label("step"), *_counts())
        .where(
            col(AiUsage.workspace) == workspace,
            col(AiUsage.budget_run_id) == run_id,
        )
        .group_by(path)
        .order_by(path)
    )
    rows = (await (await session.connection()).execute(statement)).mappings()
    return [UsageSum.model_validate(dict(row)) for row in rows]
