"""What webhooks have received: looked up, and listed."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.webhook_table import DeliveryStatus, WebhookDelivery
from schemas.errors import NotFoundError


async def get(session: AsyncSession, workspace: str, delivery_id: str) -> WebhookDelivery:
    """Return a delivery; raises NotFoundError."""
    statement = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.workspace == workspace
    )
    found = (await session.exec(statement)).first()
    if found is None:
        raise no_delivery(delivery_id)
    return found


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    trigger_id: str | None = None,
    status: DeliveryStatus | None = None,
    received_from: datetime | None = None,
    received_to: datetime | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[WebhookDelivery]:
    """Return a page of deliveries, the last first; raises InputError for a bad cursor.

    `received_from` is included, `received_to` is not. Bodies are left out.
    """
    statement = (
        select(WebhookDelivery)
        .options(defer(sa.inspect(WebhookDelivery).attrs.body.class_attribute))
        .where(WebhookDelivery.workspace == workspace)
    )
    if trigger_id is not None:
        statement = statement.where(WebhookDelivery.trigger_id == trigger_id)
    if status is not None:
        statement = statement.where(WebhookDelivery.status == status)
    if received_from is not None:
        statement = statement.where(WebhookDelivery.received_at >= received_from)
    if received_to is not None:
        statement = statement.where(WebhookDelivery.received_at < received_to)
    place = (col(WebhookDelivery.received_at), col(WebhookDelivery.id))
    if cursor is not None:
        statement = statement.where(sa.tuple_(*place) < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(*(column.desc() for column in place))
    return cut((await session.exec(statement.limit(page_size(limit) + 1))).all(), limit)


def no_delivery(delivery_id: str) -> NotFoundError:
    """Give the error that there is no such delivery."""
    return NotFoundError(f"there is no delivery {delivery_id!r}")
