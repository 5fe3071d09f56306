"""The test files of the examples: every case holds, and together they take every edge."""

from pathlib import Path

import pytest

from activities.registry import load
from testing.bench import Bench
from testing.coverage import measure
from testing.judging import judge
from testing.loading import Suite, find_files
from testing.loading import load as load_suite

FOLDER = Path(__file__).resolve().parents[2] / "examples"
FILES = find_files([FOLDER / "tests"])


def read(path: Path) -> Suite:
    """Read a test file that must be good."""
    found = load_suite(path, load())
    assert isinstance(found, Suite), found
    return found


@pytest.fixture(scope="module")
async def bench():
    """One server for all files."""
    async with Bench.open(load()) as found:
        yield found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
async def test_an_example_does_what_its_test_file_says(path: Path, bench: Bench) -> None:
    suite = read(path)
    outcomes = [
        judge(await bench.run(suite.definition, case, templates=suite.templates), case)
        for case in suite.cases
    ]
    wrong = {each.name: [*each.problems, *each.failures] for each in outcomes if not each.ok}
    assert wrong == {}
    assert [warning for each in outcomes for warning in each.warnings] == []
    assert measure(suite.definition, outcomes).missed == []
