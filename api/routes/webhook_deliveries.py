"""/webhook-deliveries: what webhooks have received, to look at and to replay."""

import base64
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Path, Query

from api.correlation import request_id
from api.dependencies import ActorDep, DatabaseDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import PageDep
from api.models.webhooks import DeliveryPage, DeliverySummary, DeliveryView, ReplayAnswer
from api.outbox import Outbox
from api.routes.runs import StarterDep
from db import webhook_deliveries, webhooks
from db.webhook_table import DeliveryStatus, WebhookDelivery
from schemas.errors import InputError

router = APIRouter(tags=["webhooks"], prefix="/webhook-deliveries")

DeliveryPath = Annotated[str, Path(min_length=1, max_length=64, description="the delivery's id")]


@router.get("", responses=problems())
async def list_deliveries(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    trigger: Annotated[str | None, Query(max_length=64, description="a trigger's id")] = None,
    status: Annotated[DeliveryStatus | None, Query()] = None,
    received_from: Annotated[datetime | None, Query(alias="from", description="included")] = None,
    received_to: Annotated[datetime | None, Query(alias="to", description="not included")] = None,
) -> DeliveryPage:
    """Deliveries, the last first, by trigger, status and time; without their bodies.

    Those with a bad signature are counted on the trigger, not kept.
    """
    for name, moment in (("from", received_from), ("to", received_to)):
        if moment is not None and moment.tzinfo is None:
            raise InputError(f"{name!r} needs a time zone", hint="2026-01-31T12:00:00Z")
    found = await webhook_deliveries.list_page(
        session,
        workspace,
        trigger_id=trigger,
        status=status,
        received_from=received_from,
        received_to=received_to,
        cursor=page.cursor,
        limit=page.limit,
    )
    items = [DeliverySummary.model_validate(_summary(row)) for row in found.items]
    return DeliveryPage(items=items, next_cursor=found.next_cursor)


@router.get("/{delivery_id}", responses=problems(404))
async def get_delivery(
    delivery_id: DeliveryPath, session: SessionDep, workspace: WorkspaceDep
) -> DeliveryView:
    """One delivery with its headers and its body."""
    row = await webhook_deliveries.get(session, workspace, delivery_id)
    values = {**_summary(row), "headers": row.headers, "query": row.query, "size": len(row.body)}
    try:
        values["text"] = row.body.decode()
    except UnicodeDecodeError:
        values["base64"] = base64.b64encode(row.body).decode()
    return DeliveryView.model_validate(values)


@router.post("/{delivery_id}/replay", status_code=202, responses=problems(404, 409, 413, 429))
async def replay_delivery(
    delivery_id: DeliveryPath,
    database: DatabaseDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
    starter: StarterDep,
    after: BackgroundTasks,
) -> ReplayAnswer:
    """Use a delivery again as its trigger maps it now, whatever `where` says: a new run."""
    async with database.session() as session:
        taken, run_id = await webhooks.replay(
            session, workspace, delivery_id, actor=actor, correlation_id=request_id()
        )
    if taken.forward is not None:
        after.add_task(Outbox(starter).forward, taken.forward)
    return ReplayAnswer(delivery_id=taken.delivery.id, replay=taken.delivery.replays, run_id=run_id)


def _summary(row: WebhookDelivery) -> dict[str, Any]:
    return {name: getattr(row, name) for name in DeliverySummary.model_fields}
