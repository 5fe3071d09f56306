"""Bringing a database to the schema of this program, and refusing one that is not."""

import asyncio
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from asyncpg.exceptions import InsufficientPrivilegeError, LockNotAvailableError
from sqlalchemy import Connection, pool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from db.engine import CONNECT_TIMEOUT, Database, unavailable
from db.locks import lock_key
from db.url import normalise_url
from schemas.errors import ConflictError

# A migration that waits for a lock makes every later query on that table wait behind it.
LOCK_TIMEOUT = "2s"
_ATTEMPTS = 10
_PAUSE = 1.0


def _config() -> Config:
    config = Config()
    # Config reads % as interpolation.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config


def head() -> str:
    """Return the revision that this program needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise RuntimeError("db/migrations/versions holds no revision")
    return found


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_unknown(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise ConflictError(
            f"the database has schema revision {revision}, which this program does not know",
            hint="it was migrated by a newer version of Sojourn: run that one",
        )


async def upgrade(url: str) -> str:
    """Migrate the database at `url` to the newest schema and return its revision.

    Several processes may do so at once: one migrates, the others wait for it. Each revision is a
    transaction; one that cannot get a lock within two seconds is rolled back and tried again.
    Raises ConflictError if the schema is newer than this program or the user may not migrate,
    UnavailableError if PostgreSQL does not answer.
    """
    engine = create_async_engine(
        normalise_url(url),
        poolclass=pool.NullPool,
        connect_args={"timeout": CONNECT_TIMEOUT},
    )
    try:
        async with engine.connect() as connection:
            # A session's lock: it outlives the transactions and ends with the connection.
            await connection.execute(
                sa.text("SELECT pg_advisory_lock(:key)"), {"key": lock_key("migrate")}
            )
            await connection.commit()
            await _migrate(connection)
    except OSError as error:
        raise unavailable(error) from error
    finally:
        await engine.dispose()
    return head()


async def _migrate(connection: AsyncConnection) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await connection.execute(sa.text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            _refuse_unknown(await connection.run_sync(_revision))
            # Revisions begin transactions of their own, and one that builds an index beside the
            # work of others ends its own meanwhile.
            await connection.commit()
            await connection.run_sync(_run)
            await connection.commit()
            return
        except DBAPIError as error:
            await connection.rollback()
            state = getattr(error.orig, "sqlstate", None)
            if state == InsufficientPrivilegeError.sqlstate:
                cause = error.orig.__cause__ if error.orig else None
                raise ConflictError(
                    f"the migration is not allowed: {getattr(cause, 'message', error.orig)}",
                    hint=getattr(cause, "hint", None),
                ) from error
            if state != LockNotAvailableError.sqlstate or attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(_PAUSE)


def _run(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def current(database: Database) -> str | None:
    """Return the database's revision, None for an empty one."""
    async with database.session() as session:
        return await (await session.connection()).run_sync(_revision)


async def check_revision(database: Database) -> None:
    """Return if the database has exactly the schema of this program; raises ConflictError."""
    try:
        revision = await current(database)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != InsufficientPrivilegeError.sqlstate:
            raise
        # Before the revision that gives the service its rights.
        raise ConflictError(
            "the database does not let this process read its schema's revision",
            hint="run `sojourn migrate`",
        ) from error
    if revision == head():
        return
    _refuse_unknown(revision)
    raise ConflictError(
        f"the database has schema revision {revision or 'none'}; this program needs {head()}",
        hint="run `sojourn migrate`",
    )
