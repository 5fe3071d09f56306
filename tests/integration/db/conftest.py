"""What the storage tests share."""

from uuid import uuid4

import pytest


@pytest.fixture
def workspace() -> str:
    """A workspace that no other test uses."""
    return f"w-{uuid4().hex[:8]}"
