"""The repository's own rules: file sizes, names, and what the package holds."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
VAGUE = re.compile(r"^(utils?|helpers?|managers?|common|misc|base_?classes)$")
# Shared types of the API's models, named in DESIGN's own words.
ALLOWED = {Path("api/models/common.py")}
OUTSIDE_THE_WHEEL = {"benchmarks", "tests"}


def sources() -> list[Path]:
    """The Python files of the checkout, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        found = [Path(line) for line in listed.stdout.splitlines()]
    else:
        # An archive without git.
        found = [path.relative_to(ROOT) for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    return sorted(path for path in found if (ROOT / path).is_file())


@pytest.mark.parametrize("path", sources(), ids=str)
def test_a_file_is_short_and_named_after_what_it_holds(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path} has {lines} lines: one concept a file"
    assert path in ALLOWED or not VAGUE.match(path.stem.strip("_")), f"{path}: name the thing"


def test_the_wheel_holds_every_package_and_module() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    tops = {path.parts[0] for path in sources()}
    assert tops - OUTSIDE_THE_WHEEL <= wheel


def test_the_linters_know_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    packages = {path.parts[0] for path in sources() if len(path.parts) > 1}
    modules = {path.stem for path in sources() if len(path.parts) == 1}
    layered = set(project["importlinter"]["root_packages"])
    assert packages - OUTSIDE_THE_WHEEL <= layered
    assert packages | modules <= set(project["ruff"]["lint"]["isort"]["known-first-party"])
    [roots] = [each for each in project["importlinter"]["contracts"] if each["id"] == "roots"]
    assert modules <= set(roots["forbidden_modules"])
