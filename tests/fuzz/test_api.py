"""The API under generated requests: no 5xx, and nothing that its own document does not say."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import schemathesis
import uvicorn
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from temporalio.worker import Worker

from activities.registry import load
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from db.sealing import KeyRing
from schemas.actions import Catalogue
from testing.simulator import Simulator
from workflows.gateway import Gateway

API_KEY = "fuzz-key-0123456789"
SEED = 20260131
LEAST_CASES = 1500
ENOUGH_CASES = 2500
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
CONFIG = {
    "seed": SEED,
    "headers": {"Authorization": f"Bearer {API_KEY}"},
    "request-timeout": 20,
    "max-time": 80,
    "workers": 1,
    "generation": {"max-examples": 5, "no-shrink": True, "database": "none"},
    "phases": {
        "examples": {"enabled": True},
        "coverage": {"enabled": True},
        "fuzzing": {"enabled": True},
        "stateful": {"enabled": False},
    },
    "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
    # A stream lasts as long as its run; tests of its own read it.
    "operations": [{"include-operation-id": "stream_run_events", "enabled": False}],
}


@pytest.fixture
async def address(
    migrated_database: Callable[[], Awaitable[str]],
    gateway: Gateway,
    catalogue: Catalogue,
    worker: Worker,
    keyring: KeyRing,
) -> AsyncIterator[str]:
    """The address of a served API with a database of its own."""
    database = Database(await migrated_database())
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, max_body_bytes=2 * 1024 * 1024),
        keyring=keyring,
        simulator=Simulator(load()),
    )
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none")
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving
    await database.close()


@dataclass
class Outcome:
    """The cases by phase, the answers by status, and what went wrong."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, scenario: events.ScenarioFinished) -> None:
        """Count one scenario."""
        recorder = scenario.recorder
        self.cases[scenario.phase.name] += len(recorder.cases)
        for interaction in recorder.interactions.values():
            if interaction.response is not None:
                self.statuses[interaction.response.status_code] += 1
        for identity, checks in recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    request = recorder.cases[identity].value.as_curl_command()
                    failure = check.failure_info.failure
                    self.faults.append(f"{check.name}: {request[:600]}\n{str(failure)[:600]}")


def attack(address: str) -> Outcome:
    """Run the phases until there are enough cases."""
    schema = schemathesis.openapi.from_url(
        f"{address}/api/v1/openapi.json", config=SchemathesisConfig.from_dict(CONFIG)
    )
    outcome = Outcome()
    stream = from_schema(schema).execute()
    for event in stream:
        if isinstance(event, events.ScenarioFinished):
            outcome.add(event)
        elif isinstance(event, events.NonFatalError):
            outcome.faults.append(f"{event.label}: {event.value}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        # The fuzzing phase goes on until it is stopped.
        if outcome.cases.total() >= ENOUGH_CASES:
            stream.stop()
    return outcome


async def test_generated_requests(address: str) -> None:
    found = await asyncio.to_thread(attack, address)
    assert not found.faults, "\n\n".join(found.faults[:20])
    assert found.cases.total() >= LEAST_CASES, found.cases
    accepted = sum(count for status, count in found.statuses.items() if status < 300)
    assert accepted >= 200, found.statuses
