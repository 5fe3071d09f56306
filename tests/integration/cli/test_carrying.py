"""Triggers, bundles, graphs and the gallery from the command line."""

import asyncio
import json
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.integration.cli.conftest import Sojourn, parsed

TEXT = "name: {name}\nsteps:\n  - {{id: a, type: stop}}\n"


@pytest.fixture
async def name(sojourn: Sojourn, tmp_path: Path) -> str:
    """A published definition."""
    name = f"cli-{uuid4().hex[:12]}"
    file = tmp_path / f"{name}.yaml"
    file.write_text(TEXT.format(name=name))
    await sojourn("publish", str(file))
    return name


async def test_triggers_are_added_switched_and_deleted(
    sojourn: Sojourn, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "daily.yaml"
    file.write_text("kind: schedule\ncron: 30 9 * * *\ntimezone: Europe/Berlin\nenabled: false\n")
    trigger = (await sojourn("triggers", "add", name, str(file))).stdout.strip()
    listed = (await sojourn("triggers", "list", name)).stdout
    assert trigger in listed
    assert "30 9 * * * Europe/Berlin" in listed
    preview = await sojourn("triggers", "preview", name, trigger, "-n", "2")
    assert preview.stdout.count("T09:30:00") == 2
    assert "nothing starts for now" in preview.stderr
    fired = (await sojourn("triggers", "fire", name, trigger)).stdout.strip()
    assert parsed(await sojourn("show", fired, "--json"))["definition"] == name
    assert "is enabled" in (await sojourn("triggers", "enable", name, trigger)).stdout
    assert "is disabled" in (await sojourn("triggers", "disable", name, trigger)).stdout
    await sojourn("triggers", "delete", name, trigger)
    await sojourn("triggers", "delete", name, trigger, code=3)
    hook = tmp_path / "hook.json"
    hook.write_text(json.dumps({"kind": "webhook", "verify": {"scheme": "none"}}))
    added = await sojourn("triggers", "add", name, str(hook))
    assert "/api/v1/hooks/" in added.stderr
    rotated = parsed(await sojourn("triggers", "rotate", name, added.stdout.strip(), "--json"))
    assert rotated["token"] not in added.stderr


async def test_a_bundle_goes_out_and_comes_in(sojourn: Sojourn, name: str, tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / f"{name}.test.yaml").write_text(f"definition: ../{name}.yaml\ncases: []\n")
    (tests / "other.test.yaml").write_text("definition: ../other.yaml\ncases: []\n")
    file = tmp_path / "bundle.yaml"
    await sojourn("export", name, "-o", str(file), "--tests", str(tests))
    bundle = yaml.safe_load(file.read_text())
    assert list(bundle["tests"]) == [f"{name}.test.yaml"]
    printed = await sojourn("export", name)
    assert yaml.safe_load(printed.stdout) == {k: v for k, v in bundle.items() if k != "tests"}
    same = await sojourn("import", str(file), "--dry-run")
    assert "unchanged" in same.stdout
    assert "nothing was stored" in same.stderr

    copy = f"{name}-copy"
    file.write_text(file.read_text().replace(name, copy))
    to = tmp_path / "there"
    done = parsed(await sojourn("import", str(file), "--tests", str(to), "--json"))
    assert [one["action"] for one in done["items"]] == ["create"]
    assert [path.name for path in to.iterdir()] == [f"{copy}.test.yaml"]
    file.write_text(file.read_text().replace("id: a", "id: b"))
    refused = await sojourn("import", str(file), code=4)
    assert "CONFLICT" in refused.stderr
    planned = await sojourn("import", str(file), "--dry-run", code=1)
    assert "refuse" in planned.stdout
    updated = await sojourn("import", str(file), "--mode", "update")
    assert "update" in updated.stdout
    await sojourn("export", "there-is-none", code=3)
    file.write_text("name: a\n")
    assert "no bundle" in (await sojourn("import", str(file), code=1)).stderr


async def test_a_graph_is_turned_without_a_server(sojourn: Sojourn, tmp_path: Path) -> None:
    file = tmp_path / "graph.json"
    nodes = [{"id": "a", "type": "set", "config": {"x": 1}}, {"id": "b", "type": "exit"}]
    file.write_text(json.dumps({"name": "drawn", "nodes": nodes}))
    made = (await sojourn("from-graph", str(file))).stdout
    assert [step["id"] for step in yaml.safe_load(made)["steps"]] == ["a", "b"]
    nodes[1]["type"] = "emial"
    file.write_text(json.dumps({"name": "drawn", "nodes": nodes}))
    wrong = await sojourn("from-graph", str(file), code=1)
    assert "nodes[1].type" in wrong.stderr
    file.write_text("{}")
    assert "nodes" in (await sojourn("from-graph", str(file), code=1)).stderr


async def test_the_gallery_is_installed_and_saved(sojourn: Sojourn, tmp_path: Path) -> None:
    assert "lead-nurture" in (await sojourn("gallery")).stdout
    assert parsed(await sojourn("gallery", "--json"))[0]["name"] == "lead-nurture"
    assert "name: lead-nurture" in (await sojourn("gallery", "show", "lead-nurture")).stdout
    copy = f"cli-{uuid4().hex[:12]}"
    arguments = ("gallery", "install", "lead-nurture", "--as", copy, "--save", str(tmp_path))
    done = await sojourn(*arguments)
    assert copy in done.stdout
    await sojourn(*arguments, code=4)
    # A process of its own: it leaves without unwinding.
    tests = str(tmp_path / "tests" / f"{copy}.test.yaml")
    trying = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "test", tests, "--only", "budget"
    )
    assert await trying.wait() == 0
    await sojourn("gallery", "show", "there-is-none", code=3)
