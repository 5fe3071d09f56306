"""That every change over the API is in the audit: a hook of the client that the tests use."""

import re
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx2 import Response
from sqlmodel import col
from starlette.routing import compile_path

from api.auditing import UNAUDITED
from db.audit import AuditEntry
from db.engine import Database
from db.tenancy import system

# 200 of these says that nothing was changed: a repeated key, a preview.
NOTHING_NEW = {"start_run", "order_bulk", "redrive_dead_letter", "redrive_dead_letters"}


def operations(app: FastAPI) -> list[tuple[re.Pattern[str], str, str]]:
    """Give the pattern of the path, the method and the id of every operation."""
    found = []
    for each in iter_route_contexts(app.routes):
        if each.path is not None and each.name is not None:
            pattern = compile_path(each.path)[0]
            found += [(pattern, method, each.name) for method in each.methods or ()]
    return found


def in_the_audit(app: FastAPI, database: Database) -> Callable[[Response], Awaitable[None]]:
    """Make a hook that fails where a change that succeeded has no entry with its request's id."""
    known = operations(app)

    async def check(answer: Response) -> None:
        request = answer.request
        if request.method in ("GET", "HEAD", "OPTIONS") or not answer.is_success:
            return
        name = next(
            name
            for pattern, method, name in known
            if method == request.method and pattern.fullmatch(request.url.path)
        )
        if name in UNAUDITED:
            return
        if name in NOTHING_NEW and answer.status_code == 200:
            return
        await answer.aread()
        if name.startswith("migrate_") and not answer.json()["migrated"]:
            return
        if name == "prune_rows" and answer.json()["dry_run"]:
            return
        wanted = sa.select(
            col(AuditEntry.actor), col(AuditEntry.action), col(AuditEntry.subject)
        ).where(col(AuditEntry.request_id) == answer.headers["x-request-id"])
        with system():
            async with database.session() as session:
                found = (await (await session.connection()).execute(wanted)).all()
        assert found, f"{name} has changed something and is not in the audit"
        assert all(all(entry) for entry in found), (name, found)

    return check
