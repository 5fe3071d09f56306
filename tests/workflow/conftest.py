"""The interpreter with all actions and the probes, on the time-skipping server."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.services import Services
from tests.kit.probes import registry
from tests.kit.running import Runner
from workflows.worker_options import build_worker


@pytest.fixture(scope="session")
async def skipping(time_skipping: WorkflowEnvironment, services: Services) -> AsyncIterator[Runner]:
    """Runs definitions with time skipped."""
    queue = "skipping"
    found = registry()
    async with build_worker(time_skipping.client, found.activities(services), task_queue=queue):
        yield Runner(time_skipping.client, queue, found)


@pytest.fixture(scope="session")
async def real_time(client: Client, services: Services) -> AsyncIterator[Runner]:
    """Runs definitions on the development server, where time passes as it does."""
    queue = "real-time"
    found = registry()
    async with build_worker(client, found.activities(services), task_queue=queue):
        yield Runner(client, queue, found)
