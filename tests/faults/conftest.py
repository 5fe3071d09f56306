"""One stand for all fault tests, with the examples published."""

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.examples import FOLDER, publish_examples
from tests.faults.stand import Stand
from tests.servers.smtp_server import SlowSmtp

_log = logging.getLogger("sojourn.faults")
# A step that a dead worker held is tried again after its timeout; a slow mail needs half of it.
# Each kill may cost an attempt.
_DEFAULTS = """\
defaults:
  timeout: 5s
  retry: {attempts: 100, initial: 200ms, factor: 1}
"""


@pytest.fixture
def seed() -> int:
    """What the random moments are made from; set SOJOURN_CHAOS_SEED for others."""
    found = int(os.environ.get("SOJOURN_CHAOS_SEED", "20"))
    # Shown where the test fails.
    _log.warning("SOJOURN_CHAOS_SEED=%d", found)
    return found


@pytest.fixture(scope="package")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    """PostgreSQL, Temporal and an API, for all tests of this folder."""
    async with SlowSmtp() as smtp:
        found = await Stand.start(tmp_path_factory.mktemp("faults"), smtp)
        try:
            await found.start_api()
            async with found.api() as api:
                await publish_examples(api, hurried_examples(tmp_path_factory.mktemp("examples")))
            yield found
        finally:
            await found.stop()


def hurried_examples(folder: Path) -> Path:
    """Copy the lead journey with its form and templates, its steps tried again soon."""
    for path in [*FOLDER.glob("templates/*.yaml"), FOLDER / "forms/contact.yaml"]:
        target = folder / path.relative_to(FOLDER)
        target.parent.mkdir(exist_ok=True)
        target.write_text(path.read_text())
    head, _, rest = (FOLDER / "lead-nurture.yaml").read_text().partition("defaults:\n")
    steps = rest[rest.index("limits:") :]
    (folder / "lead-nurture.yaml").write_text(head + _DEFAULTS + steps)
    return folder


@pytest.fixture
async def stand(servers: Stand) -> AsyncIterator[Stand]:
    """The servers with an empty mail server; a test starts its workers, which end with it.

    In no test does a final status change.
    """
    servers.smtp.deliveries.clear()
    servers.smtp.hold = None
    yield servers
    if servers.worker is not None:
        servers.kill_worker()
    assert await servers.final_changes() == []
