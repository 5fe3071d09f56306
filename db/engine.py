"""The connection pool, and sessions whose errors are ours and whose rows are the scope's."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import dump_json
from db.scoped import ScopedConnection
from db.tenancy import EVERY
from db.url import normalise_url
from schemas.errors import ConflictError, ErrorCode, InputError, SojournError, UnavailableError

# Seconds. Connecting and waiting for a free connection each stay inside what a caller is promised.
CONNECT_TIMEOUT = 2.0
POOL_TIMEOUT = 2.0
STATEMENT_TIMEOUT = 15.0
RETRY_AFTER = 5.0
# In a session's info.
MAX_QUEUED_STARTS = "max_queued_starts"

# SQLSTATE classes and codes after which the same request may succeed: connection lost, resources
# short, operator intervention, deadlock and serialisation, lock not available, read-only replica.
_TRANSIENT = ("08", "53", "57", "58", "40", "55P03", "25006")
# A character that PostgreSQL's text or JSONB cannot hold: 22021, 22P05.
_BAD_CHARACTER = ("22021", "22P05")
# The role is not there, or the user may not take it.
_NOT_THE_ROLE = ("22023", "42501")


def unavailable(cause: BaseException) -> UnavailableError:
    """Return the error that callers see when PostgreSQL does not answer; names no address."""
    return UnavailableError(
        "the database does not answer",
        code=ErrorCode.DATABASE_UNAVAILABLE,
        retry_after=RETRY_AFTER,
        details={"cause": type(cause).__name__},
    )


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        role: str | None = None,
        scope: str | None = EVERY,
        max_queued_starts: int | None = None,
    ) -> None:
        """Prepare a pool of at most `pool_size` connections; connects when first used.

        Every statement runs as `role` (None: as the URL's user, whom policies may not bind), and
        sees the rows of the task's scope (`db.tenancy`), of `scope` where the task has none.
        Above `max_queued_starts` that wait no start is ordered (None: there is no such limit).
        """
        self.url = normalise_url(url)
        self._scope = scope
        self._info = {MAX_QUEUED_STARTS: max_queued_starts}
        given = {} if role is None else {"role": role}
        self.engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            json_serializer=dump_json,
            connect_args={
                "timeout": CONNECT_TIMEOUT,
                "command_timeout": STATEMENT_TIMEOUT + CONNECT_TIMEOUT,
                "connection_class": ScopedConnection,
                "server_settings": {
                    **given,
                    "application_name": "sojourn",
                    "statement_timeout": f"{STATEMENT_TIMEOUT:.0f}s",
                    "idle_in_transaction_session_timeout": "60s",
                },
            },
        )
        event.listen(self.engine.sync_engine, "do_connect", _connect)
        event.listen(self.engine.sync_engine, "handle_error", _translate)
        event.listen(self.engine.sync_engine, "connect", self._hand_scope)
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)
        event.listen(self.engine.sync_engine, "before_cursor_execute", _scope_alone)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """Open a transaction: commits at the end, rolls back on any error.

        Raises UnavailableError (DATABASE_UNAVAILABLE) when PostgreSQL cannot be reached or goes
        away meanwhile; the transaction may then have been committed or not.
        """
        try:
            async with AsyncSession(
                self.engine, expire_on_commit=False, info=self._info
            ) as session:
                yield session
                await session.commit()
        except PoolTimeoutError as error:
            raise unavailable(error) from error

    async def ping(self, deadline: float = 1.0) -> None:
        """Return if PostgreSQL answers within `deadline` seconds; raises UnavailableError."""
        try:
            async with asyncio.timeout(deadline), self.session() as session:
                await (await session.connection()).execute(sa.text("SELECT 1"))
        except TimeoutError as error:
            raise unavailable(error) from error

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    def _hand_scope(self, connection: DBAPIConnection, _record: object) -> None:
        connection.driver_connection.fallback = self._scope


def _connect(
    dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]
) -> DBAPIConnection:
    failures = (OSError, dialect.loaded_dbapi.Error, asyncpg.PostgresError, asyncpg.InterfaceError)
    try:
        return dialect.connect(*arguments, **options)
    except failures as error:
        role = options["server_settings"].get("role")
        if role is not None and _state(error) in _NOT_THE_ROLE:
            raise ConflictError(
                f"the database does not let this process be {role!r}: {error}",
                hint="run `sojourn migrate`; see docs/operations.md for users of their own",
            ) from error
        raise unavailable(error) from error


def _refuse_closed(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Have the pool connect anew where PostgreSQL has gone since.

    asyncpg has seen the end of the connection by then. A ping would cost three round trips for
    each statement, and can do no more: the connection may as well be lost right after it.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _scope_alone(
    connection: Connection,
    _cursor: object,
    _statement: object,
    _parameters: object,
    _context: object,
    _many: object,
) -> None:
    """Give a statement without a transaction its scope; the BEGIN of any other carries it."""
    adapter: Any = connection.connection.dbapi_connection
    if adapter.isolation_level == "autocommit":
        driver: ScopedConnection = adapter.driver_connection
        if driver.scoped != driver.wanted():
            await_(driver.rescope())


def _translate(context: ExceptionContext) -> BaseException | None:
    error = context.original_exception
    # A cancelled caller is no fault of anyone.
    if isinstance(error, (SojournError, asyncio.CancelledError)):
        return None
    if context.is_disconnect or isinstance(error, OSError):
        return unavailable(error)
    state = _state(error)
    if state.startswith(_TRANSIENT):
        return unavailable(error)
    if state in _BAD_CHARACTER:
        return InputError("text holds U+0000, which cannot be stored")
    return None


def _state(error: BaseException) -> str:
    """Give PostgreSQL's code of an error, "" where it has none."""
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    return state if isinstance(state, str) else ""
