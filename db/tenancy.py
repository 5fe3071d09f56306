"""Whose rows the transactions of this task may see: PostgreSQL's policies enforce it.

The scope travels in a context variable, so that no query has to carry it: a transaction takes it
over when it begins (see `db.engine`). Where nothing is set a transaction of the service sees no
row at all: a forgotten scope shows itself at once, and shows nobody's rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# What the service's connections are: it owns nothing, so that the policies bind it.
SERVICE_ROLE = "sojourn_service"
# The scope of processes that serve all workspaces; no workspace can have this name.
EVERY = "*"

_scope: ContextVar[str | None] = ContextVar("sojourn_scope", default=None)


def current() -> str | None:
    """Return the workspace that this task is in, EVERY for all of them, None for none."""
    return _scope.get()


def enter(workspace: str) -> None:
    """Be in `workspace` for the rest of this task, or of the request that it serves."""
    _scope.set(workspace)


@contextmanager
def scope(workspace: str | None) -> Iterator[None]:
    """Be in `workspace`, or in none, for a block; transactions begun before it are not touched."""
    token = _scope.set(workspace)
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def system() -> Iterator[None]:
    """See the rows of every workspace for a block: lookups by token, loops over all workspaces."""
    with scope(EVERY):
        yield
