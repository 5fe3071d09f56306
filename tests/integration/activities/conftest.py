"""What the tests of mail share: a lead, a step of its run, and services that recipients reach."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from activities.context import ActionContext
from activities.services import Services
from db import leads
from db.ids import new_id
from schemas.actions import StepContext
from tests.kit.mailing import KEYRING, PUBLIC_URL

if TYPE_CHECKING:
    from db.engine import Database

Step = Callable[..., ActionContext]


@pytest.fixture(scope="session")
async def reached(services: Services) -> AsyncIterator[Services]:
    """The suite's services with a public URL and keys for connections."""
    found = replace(services, mail=replace(services.mail, public_url=PUBLIC_URL), keyring=KEYRING)
    yield found
    await found.aclose()


@pytest.fixture
async def ada(database: "Database") -> leads.Lead:
    """A lead of the test's own."""
    async with database.session() as session:
        return await leads.upsert(session, "default", f"Ada-{uuid4().hex}@example.com", name="Ada")


@pytest.fixture
def step(reached: Services) -> Step:
    """Call it for the context of a step of a new run, or of the run with `run_id`."""

    def made(
        lead: leads.Lead | None = None, *, run_id: str | None = None, path: str = "send"
    ) -> ActionContext:
        told = StepContext(
            workspace="default",
            definition="test",
            run_id=run_id or new_id(),
            path=path,
            lead_id=lead.id if lead else None,
        )
        return ActionContext(step=told, services=reached, timeout=timedelta(seconds=10))

    return made
