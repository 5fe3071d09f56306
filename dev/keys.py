"""The API key of a development stack: an admin's key of the table, made once for a database."""

from db import api_keys, audit, audit_hashes
from db.api_keys import ApiKey
from db.base import now
from db.engine import Database
from db.tenancy import system
from dev.home import Home
from schemas.roles import Role


async def admin_key(home: Home, url: str, workspace: str) -> str:
    """Give the key that is kept in the folder, or a new one where the database has not got it."""
    database = Database(url, pool_size=1)
    try:
        with system():
            async with database.session() as session:
                text = home.admin_key()
                parts = api_keys.split(text or "")
                row = None if parts is None else await api_keys.find(session, parts[0])
                if text and parts and row and row.opens(parts[1]) and not row.ends(now()):
                    return text
                row, text = api_keys.create(
                    session,
                    workspace=workspace,
                    name="sojourn dev",
                    role=Role.ADMIN,
                    created_by="dev",
                )
                await session.flush()
                audit.add(
                    session,
                    workspace,
                    actor="dev",
                    action="api_key.create",
                    subject=row.id,
                    after=await audit_hashes.stored(session, ApiKey, {"id": row.id}),
                )
    finally:
        await database.close()
    home.keep_admin_key(text)
    return text
