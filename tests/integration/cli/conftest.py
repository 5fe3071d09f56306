"""The command line against an API that is served for real, over the suite's own servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs
from temporalio.worker import Worker
from typer.testing import CliRunner, Result

from cli import app as command
from tests.kit.serving import served

API_KEY = "test-key-0123456789"
Sojourn = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="session")
async def address(app: FastAPI, worker: Worker) -> AsyncIterator[str]:
    """The address of the suite's API, served on loopback."""
    async with served(app) as address:
        yield address


@pytest.fixture
def sojourn(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sojourn]:
    """Call it with a command line; asserts the exit code, 0 by default."""
    monkeypatch.setenv("SOJOURN_URL", address)
    monkeypatch.setenv("SOJOURN_API_KEY", API_KEY)

    async def called(*arguments: str, code: int = 0) -> Result:
        # In a thread: the API is served on this one's loop.
        done = await asyncio.to_thread(CliRunner().invoke, command, arguments)
        assert done.exit_code == code, f"{done.exit_code}\n{done.output}\n{done.exception!r}"
        return done

    # The API's log would be taken for what the command prints.
    with capture_logs():
        yield called


def parsed(done: Result) -> Any:
    """What a command printed, as JSON."""
    return json.loads(done.stdout)
