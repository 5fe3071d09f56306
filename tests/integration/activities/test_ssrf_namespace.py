"""Requests in a network where every address answers: nothing goes where it must not."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.evidence import figures

# Requests that each group must have tried, at least.
LEAST = {
    "addresses": 60,
    "url_forms": 25,
    "redirects": 40,
    "names": 7,
    "rebinds": 12,
    "webhooks": 7,
    "mcp": 7,
    "models": 21,
    "tokens": 7,
    "mail": 21,
}
SINKS = ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"]


async def _run(repository: Path, *command: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "unshare", "--user", "--map-root-user", "--net", "--mount", *command,
        cwd=repository, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture(scope="module")
async def report(repository: Path) -> dict[str, Any]:
    """What the corpus came to, in a namespace of its own."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("there is no unshare or no ip here: no network namespace can be made")
    code, _, why = await _run(repository, "ip", "link", "set", "lo", "up")
    if code != 0:
        pytest.skip(f"this system lets nobody make a network namespace: {why.strip()}")
    code, out, err = await _run(repository, sys.executable, "-m", "tests.kit.namespace_cases")
    assert code == 0, err
    return json.loads(out)


def test_no_packet_goes_where_it_must_not(report: dict[str, Any]) -> None:
    for group, least in LEAST.items():
        assert report["counts"][group] >= least, group
    assert report["passed"] == []
    for group in ("addresses", "redirects", "names", "webhooks", "mcp"):
        # Refused for where they lead, and for nothing else.
        assert set(report["codes"][group]) == {"FORBIDDEN"}, group
    assert report["packets"] == {}
    assert report["connections"] == {}
    assert report["dropped"] == 0, "the packet socket has not seen everything"
    figures(
        "T11 requests to closed targets",
        cases=sum(report["counts"].values()),
        addresses=report["counts"]["addresses"],
        packets_at_the_sinks=sum(report["packets"].values()),
        public_targets_reached=report["legitimate"],
        control_reached=report["control"]["fetched"],
    )


def test_public_targets_are_reached(report: dict[str, Any]) -> None:
    assert report["legitimate"] >= 20


def test_a_client_without_a_guard_gets_there(report: dict[str, Any]) -> None:
    control = report["control"]
    assert control["sinks"] == SINKS
    assert control["fetched"] >= 60
    assert control["packets"] >= control["fetched"]
    assert control["rebound"], "a check before the request must be no protection"
