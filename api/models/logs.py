"""Logs of runs as the API gives them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from db.run_logs import LogLevel, LogSource


class LogLine(BaseModel):
    """One line; what looks like a secret was hidden before it was stored."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    level: LogLevel
    source: LogSource
    step: str | None = Field(validation_alias="step_path", description="the step's path")
    message: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class LogPage(BaseModel):
    """Lines in the order in which they were written."""

    items: list[LogLine]
    next: int = Field(description="`after` for the lines that follow, also for those to come")
    more: bool = Field(description="there are more lines already")
