"""Database URLs as people and platforms write them, made into the one form we use."""

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from schemas.errors import InputError

_DRIVERS = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
# What asyncpg.connect and SQLAlchemy's dialect take from a URL; others would be a TypeError later.
_PARAMETERS = frozenset(
    {
        "host",
        "port",
        "ssl",
        "passfile",
        "target_session_attrs",
        "direct_tls",
        "statement_cache_size",
        "prepared_statement_cache_size",
    }
)


def normalise_url(url: str) -> str:
    """Return `url` as `postgresql+asyncpg://…`; raises InputError if it cannot be used.

    Accepts postgres://, postgresql:// and postgresql+asyncpg://, unix sockets as
    `?host=/directory`, and libpq's `sslmode`, which asyncpg calls `ssl`.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The URL itself holds a password: it is never repeated in a message.
        raise InputError(
            "the database URL cannot be read",
            hint="postgresql://user:password@host:5432/database",
        ) from error
    if parsed.drivername not in _DRIVERS:
        raise InputError(
            f"the database URL begins with {parsed.drivername}://, which is not PostgreSQL",
            hint="postgresql://user:password@host:5432/database",
        )
    if not parsed.database:
        raise InputError("the database URL names no database", hint="postgresql://host/database")
    query = dict(parsed.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    unknown = sorted(set(query) - _PARAMETERS)
    if unknown:
        raise InputError(
            f"the database URL has parameters that are not supported: {', '.join(unknown)}",
            hint=f"supported are sslmode, {', '.join(sorted(_PARAMETERS))}",
        )
    return render_url(parsed.set(drivername="postgresql+asyncpg", query=query))


def render_url(url: URL) -> str:
    """Return `url` as text, with its password."""
    return url.render_as_string(hide_password=False)
