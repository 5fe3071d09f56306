"""Webhooks as the API takes and gives them."""

from datetime import datetime

from pydantic import BaseModel, Field

from db.webhook_table import DeliveryStatus


class HookAnswer(BaseModel):
    """What became of a delivery; `failed` and `ignored` ones need not be sent again."""

    delivery_id: str
    status: DeliveryStatus
    run_id: str | None = None
    duplicate: bool = Field(default=False, description="it came before, and did nothing now")


class ChallengeAnswer(BaseModel):
    """What Slack asks for to see that the address is ours."""

    challenge: str


class DeliverySummary(BaseModel):
    """A delivery as lists show it."""

    id: str
    trigger_id: str
    sender_id: str | None = Field(default=None, description="the id that the sender gave it")
    received_at: datetime
    status: DeliveryStatus
    error: str | None = None
    run_id: str | None = Field(default=None, description="the first run that it started")
    replays: int


class DeliveryView(DeliverySummary):
    """A delivery with all that was kept of it: `text`, or `base64` where it is no UTF-8."""

    headers: dict[str, str]
    query: str
    size: int = Field(description="the body's length in bytes")
    text: str | None = None
    base64: str | None = None


class DeliveryPage(BaseModel):
    """Deliveries, the last received first."""

    items: list[DeliverySummary]
    next_cursor: str | None = None


class ReplayAnswer(BaseModel):
    """What a replay has done: a new run, or an event published again."""

    delivery_id: str
    replay: int = Field(description="counts from 1")
    run_id: str | None = None
