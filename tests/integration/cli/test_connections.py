"""`sojourn connections`: what is disabled, and enabling it."""

from uuid import uuid4

from db import connections
from db.engine import Database
from tests.integration.cli.conftest import Sojourn, parsed
from tests.kit.mailing import KEYRING


async def test_enabling_a_connection(sojourn: Sojourn, database: Database) -> None:
    name = f"hook-{uuid4().hex[:8]}"
    async with database.session() as session:
        row = await connections.put(
            session, "default", name, kind="webhook", config={"url": "https://a.example.com"},
            secrets={"secret": "canary-1"}, keyring=KEYRING,
        )  # fmt: skip
        await connections.disable(
            session, "default", name, seen=row.updated_at, reason="gone", actor="run:r"
        )
    assert "gone" in (await sojourn("connections", "list")).stdout
    assert "enabled" in (await sojourn("connections", "enable", name)).stdout
    listed = parsed(await sojourn("connections", "list", "--json"))
    assert {one["name"]: one["disabled"] for one in listed}[name] is None
    assert "canary" not in str(listed)
    await sojourn("connections", "enable", f"no-{name}", code=3)
