"""What the tests of actions share: runs of one activity with nothing but the SDK's own context."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.context import ActionContext
from activities.registry import Registry, load
from activities.services import HttpConfig, Services
from schemas.actions import StepContext

STEP = {
    "workspace": "default",
    "definition": "test",
    "run_id": "0190c0de-0000-7000-8000-000000000001",
    "path": "step",
}


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Every action."""
    return load()


@pytest.fixture
def step() -> dict[str, Any]:
    """A step's context, as the interpreter sends it."""
    return dict(STEP)


class Runner:
    """Runs activities by name as a worker does."""

    def __init__(self, registry: Registry, services: Services) -> None:
        self.functions: dict[str, Callable[..., Any]] = {
            getattr(function, "__temporal_activity_definition").name: function
            for function in registry.activities(services)
        }
        self.environment = ActivityEnvironment()

    async def run(
        self, name: str, *arguments: Any, attempt: int = 1, seconds: float = 10.0, **info: Any
    ) -> Any:
        """Run one attempt with this start-to-close timeout."""
        self.environment.info = replace(
            ActivityEnvironment.default_info(),
            attempt=attempt,
            start_to_close_timeout=timedelta(seconds=seconds),
            **info,
        )
        return await self.environment.run(self.functions[name], *arguments)


@pytest.fixture
def make_runner(registry: Registry) -> Callable[[Services], Runner]:
    """Call it with services for a Runner over all activities."""
    return lambda services: Runner(registry, services)


@pytest.fixture
def loopback() -> HttpConfig:
    """Leave to reach loopback on any port."""
    return HttpConfig(allow_cidrs=("127.0.0.0/8", "::1/128"), allow_ports=tuple(range(1024, 65536)))


@pytest.fixture
async def context(step: dict[str, Any], loopback: HttpConfig) -> AsyncIterator[ActionContext]:
    """A context for calling an action function directly."""
    services = Services(http_config=loopback)
    yield ActionContext(
        step=StepContext.model_validate(step), services=services, timeout=timedelta(seconds=5)
    )
    await services.aclose()
