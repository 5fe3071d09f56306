"""What all tables share: the naming of constraints, the clock, column types."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic_core import to_json, to_jsonable_python
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlmodel import SQLModel

# Alembic needs stable names to drop or alter a constraint later.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# JSON, not JSONB, keeps the order of keys (the order of a form's fields, of a definition's maps)
# and takes every string, also one with U+0000, which JSONB refuses.
JSON_TEXT = JSON(none_as_null=True)
# JSONB where the database itself merges or searches.
JSON_BINARY = JSONB(none_as_null=True)


def now() -> datetime:
    """Return the present as an aware UTC datetime."""
    return datetime.now(UTC)


def enum_type(values: type[StrEnum]) -> sa.Enum:
    """Return a column type that stores the values of `values` as text and reads them back."""
    return sa.Enum(
        values,
        native_enum=False,
        create_constraint=False,
        length=32,
        values_callable=lambda kind: [member.value for member in kind],
    )


def dump_json(value: Any) -> str:
    """Return `value` as ASCII JSON; infinities and NaN, which JSON lacks, become null."""
    try:
        return json.dumps(value, allow_nan=False, default=to_jsonable_python, separators=(",", ":"))
    except ValueError:
        return to_json(value, inf_nan_mode="null").decode()


def clean_text(value: str | None) -> str | None:
    """Return `value` without U+0000, which PostgreSQL's text cannot hold."""
    return value.replace("\x00", "\ufffd") if value else value
