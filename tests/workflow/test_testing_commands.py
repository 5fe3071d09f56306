"""The commands `sojourn test` and `sojourn graph` as a shell and a CI see them."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
DEFINITION = "name: filed\nsteps: [{id: nap, type: delay, for: 90d}]\n"
CASES = "definition: filed.yaml\ncases: [{name: sleeps, expect: {status: %s}}]\n"


def sojourn(*arguments: str, cwd: Path = REPOSITORY) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    program = Path(sys.executable).parent / "sojourn"
    return subprocess.run(
        [str(program), *arguments],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a definition."""
    (tmp_path / "filed.yaml").write_text(DEFINITION)
    return tmp_path


def test_all_that_holds_is_exit_code_zero(folder: Path) -> None:
    (folder / "filed.test.yaml").write_text(CASES % "completed")
    done = sojourn("test", ".", "--cover", "100", "--junit", "report.xml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "ok  filed: sleeps  (90d in " in done.stdout
    assert "filed.yaml: 100 % branch coverage, 0 of 0 edges" in done.stdout
    assert done.stderr == ""
    root = ElementTree.parse(folder / "report.xml").getroot()
    assert [suite.get("tests") for suite in root] == ["1", "1"]


def test_a_failure_is_exit_code_one_and_names_its_line(folder: Path) -> None:
    (folder / "filed.test.yaml").write_text(CASES % "failed")
    done = sojourn("test", "filed.test.yaml", cwd=folder)
    assert done.returncode == 1
    assert "filed.test.yaml:2: the run is completed, not failed" in done.stdout
    told = json.loads(sojourn("test", "--json", "filed.test.yaml", cwd=folder).stdout)
    assert told["files"][0]["cases"][0]["failures"] == ["the run is completed, not failed"]


def test_a_bad_file_is_exit_code_two_and_says_where(folder: Path) -> None:
    (folder / "filed.test.yaml").write_text(CASES % "asleep")
    done = sojourn("test", "filed.test.yaml", cwd=folder)
    assert done.returncode == 2
    assert "filed.test.yaml:2:41 cases[0].expect.status" in done.stderr


def test_a_definition_is_printed_as_a_graph() -> None:
    example = str(EXAMPLES / "lead-nurture.yaml")
    text = sojourn("graph", example)
    assert text.stdout.startswith("flowchart TD\n")
    drawing = sojourn("graph", example, "--format", "svg")
    assert ElementTree.fromstring(drawing.stdout).tag.endswith("svg")
    assert drawing.stdout == sojourn("graph", example, "--format", "svg").stdout


def test_the_document_of_the_kit_runs_as_pasted(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "testing.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    (tmp_path / "hello.yaml").write_text(blocks[0])
    (tmp_path / "hello.test.yaml").write_text(blocks[1])
    first = sojourn("test", "hello.test.yaml", "--cover", "100", cwd=tmp_path)
    assert first.returncode == 1
    assert "50 % branch coverage, 2 of 4 edges; 100 % are required" in first.stdout
    (tmp_path / "hello.test.yaml").write_text(blocks[1] + blocks[2])
    second = sojourn("test", "hello.test.yaml", "--cover", "100", cwd=tmp_path)
    assert second.returncode == 0, second.stdout
