"""Tables that analytics keep for days that are over; `db.analytics_days` fills them."""

from datetime import date, datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import now


class StepDay(SQLModel, table=True):
    """Steps of the runs that ended on one day (UTC), counted by all that analytics ask for.

    `created_on` is the day on which the runs were made. `started` are steps whose guard let them
    begin, `retried` those with more than one attempt, `retries` their further attempts,
    `duration_ms` is the sum over the `timed` ones. `error_code` is empty where there is none.
    """

    __tablename__ = "analytics_step_days"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    definition: str = Field(primary_key=True)
    ended_on: date = Field(primary_key=True)
    created_on: date = Field(primary_key=True)
    version: int = Field(primary_key=True)
    step: str = Field(primary_key=True)
    type: str = Field(primary_key=True)
    status: str = Field(primary_key=True)
    error_code: str = Field(primary_key=True)
    steps: int = Field(sa_type=sa.BigInteger)
    started: int = Field(sa_type=sa.BigInteger)
    retried: int = Field(sa_type=sa.BigInteger)
    retries: int = Field(sa_type=sa.BigInteger)
    timed: int = Field(sa_type=sa.BigInteger)
    duration_ms: int = Field(sa_type=sa.BigInteger)


class RolledDay(SQLModel, table=True):
    """A day (UTC) whose ended runs are in `analytics_step_days`: how many, and which.

    `fingerprint` is of the runs' ids: it differs once others are there, or fewer.
    """

    __tablename__ = "analytics_days"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    runs: int = Field(sa_type=sa.BigInteger)
    fingerprint: int = Field(sa_type=sa.BigInteger)
    rolled_at: datetime = Field(default_factory=now)
