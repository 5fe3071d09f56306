"""Runs from the command line: input as people type it, waiting, exit codes."""

import asyncio
import json
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.cli.conftest import Sojourn, parsed

TEXT = """\
name: {name}
input:
  type: object
  properties: {{n: {{type: integer}}, who: {{type: string}}, wait: {{type: boolean}}}}
output: {{n: "{{{{ input.n }}}}", who: "{{{{ default(input.who, 'nobody') }}}}"}}
steps:
  - {{id: bad, type: condition, if: "input.n < 0", then: [{{id: no, type: fail, code: TOO_SMALL}}]}}
  - {{id: held, type: wait, signal: go, timeout: 1h, if: "default(input.wait, false)"}}
"""


@pytest.fixture
async def name(sojourn: Sojourn, tmp_path: Path) -> str:
    """A published definition that fails for negative numbers."""
    name = f"cli-{uuid4().hex[:12]}"
    file = tmp_path / f"{name}.yaml"
    file.write_text(TEXT.format(name=name))
    published = parsed(await sojourn("publish", str(file), "--json"))
    assert (published["version"], published["status"]) == (1, "published")
    return name


async def test_input_comes_in_every_way(sojourn: Sojourn, name: str, tmp_path: Path) -> None:
    file = tmp_path / "input.yaml"
    file.write_text("n: 1\nwho: ada\n")
    for given, output in (
        (["-i", "n=4", "-i", "who=some body"], {"n": 4, "who": "some body"}),
        (["--file", str(file), "-i", "n=5"], {"n": 5, "who": "ada"}),
        (["--input", '{"n": 6}', "--priority", "1"], {"n": 6, "who": "nobody"}),
    ):
        done = await sojourn("run", name, *given, "--wait", "--json")
        assert parsed(done)["output"] == output
    await sojourn("run", name, "-i", "n", code=2)
    await sojourn("run", name, "-i", "{", code=2)
    await sojourn("run", name, "-i", "@there-is-none.json", code=2)
    wrong = await sojourn("run", name, "-i", "n=many", code=1)
    assert "INVALID_INPUT" in wrong.stderr


async def test_waiting_tells_the_events_and_the_end(sojourn: Sojourn, name: str) -> None:
    done = await sojourn("run", name, "-i", "n=1", "--wait")
    assert "step_completed" in done.stdout
    assert "status      completed" in done.stdout
    failed = await sojourn("run", name, "-i", "n=-1", "--wait", code=1)
    assert "TOO_SMALL at no" in failed.stdout
    run = failed.stdout.split()[0]
    again = await sojourn("watch", run, "--json", code=1)
    *events, last = [json.loads(line) for line in again.stdout.splitlines()]
    assert events[0]["event"] == "run_started"
    assert (last["id"], last["status"]) == (run, "failed")


async def test_one_key_starts_one_run(sojourn: Sojourn, name: str) -> None:
    key = uuid4().hex
    first = await sojourn("run", name, "-i", "n=1", "--key", key)
    second = await sojourn("run", name, "-i", "n=1", "--key", key)
    assert first.stdout == second.stdout


async def test_a_run_is_watched_while_it_is_steered(sojourn: Sojourn, name: str) -> None:
    run = (await sojourn("run", name, "-i", "n=1", "-i", "wait=true")).stdout.strip()
    # A process of its own: the runner of commands takes one at a time.
    watching = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "watch", run, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(180):
        while parsed(await sojourn("show", run, "--json"))["status"] != "waiting":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    shown = (await sojourn("show", run)).stdout
    assert "held" in shown
    assert "status      waiting" in shown
    listed = await sojourn("runs", "-d", name, "-s", "waiting", "--since", "1h")
    assert run in listed.stdout
    assert parsed(await sojourn("pause", run, "--json"))["id"] == run
    await sojourn("cancel", run)
    async with asyncio.timeout(180):
        printed, _ = await watching.communicate()
    assert watching.returncode == 1
    assert b"status      cancelled" in printed
    await sojourn("cancel", run, code=4)
    await sojourn("terminate", run, code=2)
    await sojourn("terminate", run, "--reason", "a test", code=4)


async def test_lists_are_whole_however_narrow_the_terminal(sojourn: Sojourn, name: str) -> None:
    ids = {(await sojourn("run", name, "-i", "n=1")).stdout.strip() for _ in range(3)}
    rows = parsed(await sojourn("runs", "--definition", name, "--json"))
    assert {row["id"] for row in rows} == ids
    table = (await sojourn("runs", "--definition", name, "-n", "2")).stdout.splitlines()
    assert len(table) == 3
    assert all(line.split()[0] in ids for line in table[1:])
    await sojourn("runs", "--status", "nonsense", code=2)
    await sojourn("runs", "--since", "yesterday", code=2)


async def test_the_queue_is_told(sojourn: Sojourn, name: str) -> None:
    assert "0 wait" in (await sojourn("queue", name)).stdout
    assert parsed(await sojourn("queue", name, "--json"))["active"] == 0
    unknown = await sojourn("queue", "there-is-none", code=3)
    assert "DEFINITION_NOT_FOUND" in unknown.stderr
