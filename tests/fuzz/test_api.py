"""The API under generated requests: no 5xx, and nothing that its own document does not say."""

import asyncio
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import schemathesis
from httpx2 import AsyncClient
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from temporalio.worker import Worker

from activities.probing import Prober
from activities.registry import load
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from testing.simulator import Simulator
from tests.faults.evidence import figures
from tests.kit.serving import served
from workflows.gateway import Gateway

API_KEY = "fuzz-key-0123456789"
SEED = 20260131
# How many cases each role gets, in the short form and in the long one.
SHORT = {"bootstrap": 1500, "admin": 300, "editor": 300, "operator": 200, "viewer": 200}
LONG = {"bootstrap": 6000, "admin": 2000, "editor": 2000, "operator": 1500, "viewer": 1500}
# How many calls in sequences, where one takes what another has answered.
SEQUENCES = {True: 2000, False: 200}
# The phase of sequences comes after one that would not end; so it is asked for alone.
ALONE = {
    **{name: {"enabled": False} for name in ("examples", "coverage", "fuzzing")},
    "stateful": {"enabled": True},
}
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
    services: Services,
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
        prober=Prober(lambda: services.http, lambda: services.ai_http, mail=services.mail_targets),
    )
    # Built at its first use, which on a busy machine takes longer than who asks would wait.
    app.openapi()
    async with served(app) as address:
        yield address
    await database.close()


@dataclass
class Outcome:
    """The cases by phase, the answers by status, and what went wrong."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __iadd__(self, other: Self) -> Self:
        """Take in what another search has counted."""
        self.cases += other.cases
        self.statuses += other.statuses
        self.faults += other.faults
        return self

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


async def key_of(address: str, role: str) -> str:
    """A key of the role, in the workspace that the bootstrap key is of."""
    if role == "bootstrap":
        return API_KEY
    async with AsyncClient(base_url=address, headers={"X-API-Key": API_KEY}) as api:
        answer = await api.post("/api/v1/api-keys", json={"name": role, "role": role})
    return answer.json()["key"]


def attack(address: str, key: str, enough: int, seed: int, seconds: int, **more: Any) -> Outcome:
    """Run the phases with a key until there are enough cases; `more` changes the configuration."""
    config = {
        **CONFIG,
        **more,
        "seed": seed,
        "headers": {"Authorization": f"Bearer {key}"},
        "max-time": seconds,
    }
    schema = schemathesis.openapi.from_url(
        f"{address}/api/v1/openapi.json", config=SchemathesisConfig.from_dict(config)
    )
    outcome = Outcome()
    stream = from_schema(schema).execute()
    for event in stream:
        if isinstance(event, events.ScenarioFinished):
            outcome.add(event)
        elif isinstance(event, events.NonFatalError) and not _of_the_tool(event.value):
            # With what it holds: an example that came out differently hides its reason in there.
            told = "".join(traceback.format_exception(event.value))
            outcome.faults.append(f"{event.label}: {event.value}\n{told[-4000:]}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        # The fuzzing phase goes on until it is stopped.
        if outcome.cases.total() >= enough:
            stream.stop()
    return outcome


def _of_the_tool(error: BaseException) -> bool:
    """Whether CPython 3.11 itself stumbled when the tool compiled a test (gh-106905)."""
    if isinstance(error, BaseExceptionGroup):
        # Of an example that went well when it was tried again.
        return all(map(_of_the_tool, error.exceptions))
    return isinstance(error, SystemError) and "AST constructor" in str(error)


def tell(test: str, found: Outcome, **more: int) -> None:
    """Note the figures of a search."""
    figures(
        test,
        cases=found.cases.total(),
        answers=found.statuses.total(),
        accepted=sum(count for status, count in found.statuses.items() if status < 300),
        server_errors=sum(count for status, count in found.statuses.items() if status >= 500),
        undocumented=len(found.faults),
        seed=SEED,
        **more,
    )


async def test_generated_requests(address: str, long: bool) -> None:
    """Every role is refused much, and told so as the document says."""
    total = Outcome()
    wanted = LONG if long else SHORT
    for turn, (role, enough) in enumerate(wanted.items()):
        key = await key_of(address, role)
        found = Outcome()
        rounds = 0
        while found.cases.total() < enough and rounds < 20:
            seed = SEED + 100 * turn + rounds
            seconds = 240 if long else 80
            found += await asyncio.to_thread(
                attack, address, key, enough - found.cases.total(), seed, seconds
            )
            rounds += 1
        assert not found.faults, role + ":\n" + "\n\n".join(found.faults[:20])
        assert found.cases.total() >= enough, found.cases
        total += found
        if role == "viewer":
            assert found.statuses[403] > 0
    assert sum(count for status, count in total.statuses.items() if status < 300) >= 200
    assert total.cases.total() >= (10_000 if long else 2_500)
    tell("T6 generated requests", total, roles=len(wanted))


async def test_generated_sequences(address: str, long: bool) -> None:
    """Calls one after another, with what those before have answered."""
    enough, seconds = SEQUENCES[long], 400 if long else 80
    found = await asyncio.to_thread(attack, address, API_KEY, enough, SEED, seconds, phases=ALONE)
    assert not found.faults, "\n\n".join(found.faults[:20])
    assert found.cases.total() >= enough, found.cases
    assert found.statuses[200] > enough / 10
    tell("T6 sequences of calls", found)
