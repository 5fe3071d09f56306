"""Bulk jobs from the command line: a look first, progress, what failed, an end before the end."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.cli.conftest import Sojourn, parsed

TEXT = """\
name: {name}
input: {{type: object, properties: {{n: {{type: integer}}}}}}
steps:
  - {{id: go, type: wait, signal: go, timeout: 1h, if: input.n >= 0}}
  - {{id: no, type: fail, code: TOO_SMALL}}
"""


@pytest.fixture
async def name(sojourn: Sojourn, tmp_path: Path) -> str:
    """A published definition that waits, and fails for negative numbers."""
    name = f"cli-{uuid4().hex[:12]}"
    file = tmp_path / f"{name}.yaml"
    file.write_text(TEXT.format(name=name))
    await sojourn("publish", str(file))
    return name


async def until_status(sojourn: Sojourn, run: str, status: str) -> None:
    """Poll a run until it has the status."""
    async with asyncio.timeout(180):
        while parsed(await sojourn("show", run, "--json"))["status"] != status:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_runs_are_steered_together(sojourn: Sojourn, name: str, tmp_path: Path) -> None:
    runs = [(await sojourn("run", name, "-i", "n=1")).stdout.strip() for _ in range(3)]
    for run in runs:
        await until_status(sojourn, run, "waiting")
    only = ("--filter", f"definition={name}", "--filter", "from=1h", "--rate", "50")
    looked = await sojourn("bulk", "pause", *only, "--preview")
    assert "3 items" in looked.stdout
    assert all(run in looked.stdout for run in runs)
    paused = await sojourn("bulk", "pause", *only, "--wait")
    assert "3 done and 0 failed of 3" in paused.stdout
    for run in runs:
        await until_status(sojourn, run, "paused")
    resumed = parsed(await sojourn("bulk", "resume", *runs, "--wait", "--json"))
    assert (resumed["state"], resumed["done"], resumed["failed_items"]) == ("completed", 3, [])
    refused = await sojourn("bulk", "retry", runs[0], "--wait", code=1)
    assert "waits for a decision" in refused.stdout

    file = tmp_path / f"{name}.yaml"
    file.write_text(file.read_text() + "title: newer\n")
    await sojourn("publish", str(file))
    move = ("bulk", "migrate", runs[0], runs[1], "--to", "2")
    assert "safe" in (await sojourn(*move, "--preview")).stdout
    await sojourn(*move, "--wait")
    older = ("--filter", f"definition={name}", "--filter", "version=1")
    left = parsed(await sojourn("bulk", "cancel", *older, "--preview", "--json"))
    assert [item["id"] for item in left["items"]] == [runs[2]]
    job = parsed(await sojourn("bulk", "cancel", *only, "--filter", "status=waiting", "--json"))
    shown = await sojourn("bulk", "show", job["id"], "--wait")
    assert "3 done" in shown.stdout
    listed = parsed(await sojourn("bulk", "list", "--json", "-n", "5"))
    assert job["id"] in [one["id"] for one in listed]
    assert job["id"] in (await sojourn("bulk", "list")).stdout
    await sojourn("bulk", "stop", job["id"], code=4)


async def test_dead_letters_are_tried_again_together(sojourn: Sojourn, name: str) -> None:
    for _ in range(4):
        await sojourn("run", name, "-i", "n=-1", "--wait", code=1)
    async with asyncio.timeout(120):
        while len(parsed(await sojourn("dead-letters", "-d", name, "--json"))) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    only = ("--filter", f"definition={name}", "--filter", "code=TOO_SMALL")
    looked = parsed(await sojourn("bulk", "redrive", *only, "--preview", "--json"))
    assert (looked["count"], looked["blocked"]) == (4, 0)
    job = parsed(await sojourn("bulk", "redrive", *only, "--rate", "1", "--json"))
    assert "cancelled" in (await sojourn("bulk", "stop", job["id"])).stdout
    await sojourn("bulk", "show", "nothing", code=3)


async def test_orders_that_make_no_sense(sojourn: Sojourn, name: str) -> None:
    await sojourn("bulk", "pause", code=2)
    await sojourn("bulk", "pause", "a", "--all", code=2)
    await sojourn("bulk", "pause", "--filter", "definition", code=2)
    await sojourn("bulk", "pause", "-f", f"definition={name}", "-f", "definition=x", code=2)
    await sojourn("bulk", "pause", "-f", "from=yesterday", code=2)
    for wrong in ("colour=red", "status=purple"):
        refused = await sojourn("bulk", "pause", "-f", wrong, code=1)
        assert "INVALID_INPUT" in refused.stderr
    nobody = await sojourn("bulk", "pause", "-f", f"definition={name}", code=4)
    assert "nothing is there" in nobody.stderr
