"""Addresses that get no mail."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.models.common import Closed
from db.suppressions import SuppressionReason


class SuppressionInput(Closed):
    """Why an address is to get no mail."""

    reason: SuppressionReason = SuppressionReason.MANUAL
    source: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="api", description="where the word came from", examples=["support ticket 12"]
    )


class SuppressionView(BaseModel):
    """One address that gets no mail; it is lower case."""

    address: str
    reason: SuppressionReason
    source: str
    created_at: datetime


class SuppressionPage(BaseModel):
    """Addresses that get no mail, the last one first."""

    items: list[SuppressionView]
    next_cursor: str | None = None
