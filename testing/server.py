"""The time-skipping server: one for all cases of a session, found and never downloaded."""

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig
from temporalio.testing import WorkflowEnvironment

from schemas.errors import ErrorCode, UnavailableError
from workflows.setup import DATA_CONVERTER, prepare_namespace

PROGRAM = "temporal-test-server"


class NoServerError(UnavailableError):
    """The time-skipping server is not installed, or does not start."""

    code = ErrorCode.TEMPORAL_UNAVAILABLE


def find_server() -> str:
    """Give the server's program, beside this Python or on PATH; raises NoServerError."""
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if beside.exists() else shutil.which(PROGRAM)
    if found is None:
        raise NoServerError(
            f"the time-skipping server {PROGRAM!r} is not installed",
            hint="pip install 'sojourn[testing]'",
        )
    return found


def quiet() -> Runtime:
    """Give a runtime that says errors only: it would warn of what this server lacks."""
    logging = LoggingConfig(filter="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=logging))


@asynccontextmanager
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """Start a server with our search attributes; raises NoServerError."""
    program = find_server()
    try:
        environment = await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=program, data_converter=DATA_CONVERTER, runtime=quiet()
        )
    except RuntimeError as error:
        raise NoServerError(f"the time-skipping server does not start: {error}") from error
    async with environment:
        await prepare_namespace(environment.client)
        yield environment
