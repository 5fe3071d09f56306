"""Dead letters from the command line: list, look, try again, give up."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.integration.cli.conftest import Sojourn, parsed

TEXT = """\
name: {name}
input: {{type: object, properties: {{n: {{type: integer}}}}}}
steps:
  - {{id: bad, type: condition, if: "input.n < 0", then: [{{id: no, type: fail, code: TOO_SMALL}}]}}
"""


async def test_they_are_listed_redriven_and_discarded(sojourn: Sojourn, tmp_path: Path) -> None:
    name = f"cli-{uuid4().hex[:12]}"
    file = tmp_path / f"{name}.yaml"
    file.write_text(TEXT.format(name=name))
    await sojourn("publish", str(file))
    for _ in range(2):
        await sojourn("run", name, "-i", "n=-1", "--wait", code=1)

    async def letters(count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(120):
            while True:
                found = parsed(await sojourn("dead-letters", "-d", name, "--json"))
                if len(found) == count:
                    return found
                await asyncio.sleep(0.05)

    first, second = await letters(2)
    assert first["id"] in (await sojourn("dead-letters", "-d", name)).stdout
    groups = (await sojourn("dead-letters", "-d", name, "--groups")).stdout
    assert first["fingerprint"] in groups
    assert "TOO_SMALL" in groups
    looked = await sojourn("redrive", first["id"], "--preview", "--from", "start")
    assert first["id"] in looked.stdout
    run = await sojourn("redrive", first["id"], "--from", "start", "--input", '{"n": 1}')
    ended = await sojourn("watch", run.stdout.strip())
    assert "status      completed" in ended.stdout
    await sojourn("redrive", first["id"], code=4)
    many = await sojourn("redrive", "-d", name, "--preview")
    assert second["id"] in many.stdout
    given_up = await sojourn("discard", second["id"], "--reason", "a test")
    assert "discarded" in given_up.stdout
    assert parsed(await sojourn("dead-letters", "-d", name, "--json")) == []
    await sojourn("redrive", code=2)
