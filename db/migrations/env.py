"""Alembic's entry: runs on a connection that it is handed, or on the database of DATABASE_URL."""

import asyncio
import os
from typing import Literal

import sqlalchemy as sa
from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import UTCDateTime
from sqlmodel.sql.sqltypes import AutoString

from db.metadata import metadata
from db.url import normalise_url


def render(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write column types in new revisions without SQLModel's own classes."""
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, sa.Enum):
        return f"sa.String(length={item.length})"
    return False


def run(connection: Connection) -> None:
    """Run the migrations on `connection`, each in a transaction of its own.

    A long wait for a lock, or an index that is built concurrently, keeps only its own revision.
    """
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_item=render,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on(url: str) -> None:
    """Connect to `url` and run the migrations there."""
    engine = create_async_engine(normalise_url(url), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    handed: Connection | None = context.config.attributes.get("connection")
    if handed is not None:
        run(handed)
    else:
        address = os.environ.get("DATABASE_URL")
        if not address:
            raise SystemExit("DATABASE_URL is not set: which database?")
        asyncio.run(run_on(address))
