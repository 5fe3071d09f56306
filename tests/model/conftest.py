"""A player of cases on a time-skipping server whose time is unlocked: no other suite shares it."""

import os
from collections.abc import AsyncIterator

import pytest

from tests.model.player import Player, playing


@pytest.fixture
def count() -> int:
    """How many generated definitions to play: more where the long form is asked for."""
    return 5000 if os.environ.get("SOJOURN_CHAOS") == "1" else 300


@pytest.fixture
def seed(count: int) -> int:
    """The first seed; the long form takes another with SOJOURN_CHAOS_SEED."""
    return int(os.environ.get("SOJOURN_CHAOS_SEED", "20")) * 100_000 if count > 300 else 1


@pytest.fixture(scope="package")
async def player() -> AsyncIterator[Player]:
    """Plays cases with the interpreter as it is."""
    async with playing() as found:
        yield found
