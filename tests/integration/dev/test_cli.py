"""The command `sojourn` against files, and against a running stack that it finds by itself."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app

WAITING = """
name: steered
steps:
  - {id: approved, type: wait, signal: approved, timeout: 30d}
"""


def sojourn(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_valid_definition_is_valid(repository: Path) -> None:
    done = sojourn("validate", str(repository / "examples/lead-nurture.yaml"))
    assert (done.exit_code, "is valid" in done.output) == (0, True)


def test_problems_are_listed_as_editors_read_them(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\nsteps:\n  - {id: a, type: delya, for: 3d}\n")
    done = sojourn("validate", str(file))
    assert done.exit_code == 1
    assert f"{file}:3:" in done.output
    assert "delay" in done.output


def test_the_schema_is_json() -> None:
    done = sojourn("schema")
    assert done.exit_code == 0
    assert "$schema" in json.loads(done.stdout)


def test_where_sojourn_runs_must_be_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SOJOURN_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    done = sojourn("runs")
    assert done.exit_code == 1
    assert "hint: set SOJOURN_URL" in done.output

    monkeypatch.setenv("SOJOURN_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SOJOURN_API_KEY", "any")
    done = sojourn("runs")
    assert done.exit_code == 5
    assert "does not answer at http://127.0.0.1:1" in done.output


def test_runs_are_published_started_and_steered(
    start_dev,
    wait_until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    dev = start_dev(home=".sojourn").ready()
    for name in ("SOJOURN_URL", "SOJOURN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "steered.yaml"
    file.write_text(WAITING)

    def status() -> str:
        shown = sojourn("show", run, "--json")
        assert shown.exit_code == 0, shown.output
        return json.loads(shown.stdout)["status"]

    assert "steered version 1 is published" in sojourn("publish", str(file)).output
    file.write_text(WAITING + "title: Second\n")
    assert "steered version 2 is published" in sojourn("publish", str(file)).output
    run = sojourn("run", "steered", "--input", "{}").stdout.strip()
    wait_until(lambda: status() == "waiting", "the run waits")
    assert run in sojourn("runs", "--definition", "steered").stdout
    assert "approved" in sojourn("show", run).stdout

    assert sojourn("pause", run).exit_code == 0
    wait_until(lambda: status() == "paused", "the run is paused")
    assert sojourn("resume", run).exit_code == 0
    wait_until(lambda: status() == "waiting", "the run goes on")
    assert sojourn("cancel", run).exit_code == 0
    wait_until(lambda: status() == "cancelled", "the run is cancelled")

    again = sojourn("cancel", run)
    assert (again.exit_code, "CONFLICT" in again.output) == (4, True)
    unknown = sojourn("run", "there-is-none")
    assert (unknown.exit_code, "NOT_FOUND" in unknown.output) == (3, True)
    watched = sojourn("watch", run)
    assert (watched.exit_code, "cancelled" in watched.stdout) == (1, True)
    dev.signal(signal.SIGTERM)
    assert dev.wait() == 0
