"""The table of what webhooks have received; `db.webhooks` has the queries."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id


class DeliveryStatus(StrEnum):
    """What became of a delivery; one with a bad signature is counted, not kept."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    FAILED = "failed"


class WebhookDelivery(SQLModel, table=True):
    """One delivery as it came in: kept so that it counts once, and can be replayed.

    `delivery_key` is what makes a copy a copy; `sender_id` is the id that the sender gave it, and
    `content_hash` the SHA-256, in hex, of what it signed. `run_id` is of the first run.
    """

    __tablename__ = "webhook_deliveries"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("trigger_id", "delivery_key"),
        sa.Index("ix_webhook_deliveries_content", "trigger_id", "content_hash"),
        sa.Index("ix_webhook_deliveries_trigger", "trigger_id", "received_at", "id"),
        sa.Index("ix_webhook_deliveries_status", "workspace", "status", "received_at", "id"),
        sa.Index("ix_webhook_deliveries_received", "workspace", "received_at", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    trigger_id: str = Field(foreign_key="triggers.id", ondelete="CASCADE")
    delivery_key: str
    sender_id: str | None = None
    content_hash: str
    received_at: datetime = Field(default_factory=now)
    headers: dict[str, str] = Field(default_factory=dict, sa_type=JSON_TEXT)
    query: str = ""
    body: bytes = b""
    status: DeliveryStatus = Field(
        default=DeliveryStatus.ACCEPTED, sa_type=enum_type(DeliveryStatus)
    )
    error: str | None = None
    run_id: str | None = None
    replays: int = 0

    @property
    def created_at(self) -> datetime:
        """When it came in: what its list is ordered by."""
        return self.received_at
