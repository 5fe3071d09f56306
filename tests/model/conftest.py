"""A stage for cases, on time-skipping servers whose time is unlocked: no other suite shares it."""

import logging
import os
from collections.abc import AsyncIterator

import pytest

from tests.model.stage import Stage


@pytest.fixture
def seed() -> int:
    """The first seed of the long form; set SOJOURN_CHAOS_SEED for others."""
    return int(os.environ.get("SOJOURN_CHAOS_SEED", "20")) * 100_000


@pytest.fixture(scope="package")
async def stage() -> AsyncIterator[Stage]:
    """Plays cases with the interpreter as it is."""
    loggers = [logging.getLogger(f"temporalio.{part}") for part in ("activity", "workflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        # The probes fail by the thousand, and are meant to.
        logger.setLevel(logging.ERROR)
    found = Stage()
    with pytest.MonkeyPatch.context() as patch:
        # The SDK gives up a workflow that does not yield for two seconds, which on a busy machine
        # says nothing; one that never yields gets no answer.
        patch.setenv("TEMPORAL_DEBUG", "1")
        yield found
        await found.close()
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
