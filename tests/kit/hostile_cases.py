"""Calls a hostile server from a process of its own and prints, as JSON, what it came to.

`python -m tests.kit.hostile_cases URL SECONDS PATH...`; with `naive` for SECONDS a client that
reads all that comes.
"""

import asyncio
import json
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.registry import load
from activities.services import HttpConfig, Services

STEP = {"workspace": "w", "definition": "d", "run_id": "r", "path": "p"}


def peak() -> int:
    """The process's largest resident size so far, in bytes."""
    # Not getrusage: what the parent had at the fork counts there, and a test's parent is large.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def guarded(base: str, seconds: float, paths: list[str]) -> list[dict[str, Any]]:
    """Ask for each path with the http action."""
    services = Services(
        http_config=HttpConfig(("127.0.0.0/8",), tuple(range(1024, 65536))),
    )
    functions = {
        getattr(one, "__temporal_activity_definition").name: one
        for one in load().activities(services)
    }
    found: list[dict[str, Any]] = []
    for path in paths:
        environment = ActivityEnvironment()
        environment.info = replace(
            ActivityEnvironment.default_info(), start_to_close_timeout=timedelta(seconds=seconds)
        )
        before, begun, code, retryable = peak(), time.monotonic(), "OK", False
        given = {"url": f"{base}/{path}", "method": "POST", "body": "x"}
        try:
            await environment.run(functions["http"], given, STEP)
        except ApplicationError as error:
            code, retryable = str(error.type), not error.non_retryable
        took = time.monotonic() - begun
        grown = peak() - before
        found.append(
            {"path": path, "code": code, "seconds": took, "grown": grown, "retryable": retryable}
        )
    await services.aclose()
    return found


async def naive(base: str, paths: list[str]) -> list[dict[str, Any]]:
    """Ask for each path with a client as the library makes it."""
    before = peak()
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        for path in paths:
            await client.post(f"{base}/{path}")
    return [{"path": paths[0], "grown": peak() - before}]


if __name__ == "__main__":
    url, limit, *rest = sys.argv[1:]
    run = naive(url, rest) if limit == "naive" else guarded(url, float(limit), rest)
    sys.stdout.write(json.dumps(asyncio.run(run)))
