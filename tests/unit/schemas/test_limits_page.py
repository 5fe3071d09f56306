"""docs/limits.md has the number of every limit; every long activity heartbeats."""

import ast
from pathlib import Path

import pytest

from activities import context, function, http
from activities._client import MAX_RESPONSE_BYTES
from db.pages import MAX_PAGE
from schemas import definition, events, run, steps_flow
from schemas.cel import budget

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "limits.md").read_text()
_KIB, _MIB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    ("row", "number"),
    [
        ("a definition as JSON", f"{definition.MAX_BYTES // _KIB} KiB"),
        ("steps", f"{definition.MAX_STEPS}"),
        ("levels of nesting", f"{definition.MAX_DEPTH}"),
        ("branches of", f"{steps_flow.MAX_BRANCHES}"),
        ("`max` of", f"{steps_flow.MAX_ITERATIONS:,}"),
        ("items of a `for_each`", f"{steps_flow.MAX_ITEMS:,}"),
        ("an expression's source", f"{budget.MAX_SOURCE:,}"),
        ("levels of an expression", f"{budget.MAX_DEPTH}"),
        ("input of a start", f"{run.MAX_INPUT_BYTES // _MIB} MiB"),
        ("data of a signal", f"{events.MAX_DATA_BYTES // _KIB} KiB"),
        ("signals and events", f"{run.MAX_EVENTS:,} or {run.MAX_EVENT_BYTES // _MIB} MiB"),
        ("signals of a run", f"{run.MAX_MAILBOX:,} or {run.MAX_MAILBOX_BYTES // _KIB} KiB"),
        ("rows of a page", f"{MAX_PAGE}"),
        ("one evaluation", f"{budget.MAX_STEPS:,} steps"),
        ("a step's rendered parameters", f"{run.MAX_PARAMS_BYTES // _MIB} MiB"),
        ("a step's output", f"{run.MAX_OUTPUT_BYTES // _KIB} KiB"),
        ("an artifact", f"{function.MAX_RESULT_BYTES // _MIB} MiB"),
        ("a body of `http`", f"{MAX_RESPONSE_BYTES // _MIB} MiB"),
        ("all results", f"{run.MAX_RESULTS_BYTES // _MIB} MiB"),
        ("all outputs", f"{run.MAX_STATE_BYTES / _MIB} MiB"),
        ("a run's output", f"{run.MAX_RUN_OUTPUT_BYTES // _MIB} MiB"),
        ("what a run carries", f"{run.MAX_CARRIED_BYTES / _MIB:.1f} MiB"),
        ("runs above one another", f"{run.MAX_RUN_DEPTH}"),
        ("open sub-runs", f"{run.MAX_OPEN_SUB_RUNS}"),
    ],
)
def test_every_limit_is_in_its_row(row: str, number: str) -> None:
    found = [line for line in TEXT.splitlines() if line.startswith(f"| {row}")]
    assert found
    assert all(number in line for line in found), found


def test_the_sizes_of_artifacts() -> None:
    assert f"`http` above {http.MAX_KEPT_BYTES // _KIB} KiB" in TEXT
    assert f"`function` above {function.MAX_KEPT_BYTES // _KIB} KiB" in TEXT
    assert context.ActionContext.keep.__doc__


def test_the_quota_is_far_below_what_temporal_takes() -> None:
    # Two shares of the first execution, whose id is not known yet, and a batch above each.
    assert 2 * (run.MAX_EVENTS + 200) < 10_000 // 2


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").rglob("*.py")), ids=lambda p: p.stem)
def test_every_long_activity_heartbeats(path: Path) -> None:
    """Those of ten seconds at most are found out by their timeout as soon."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in ("start_activity", "execute_activity"):
            continue
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        short = given["start_to_close_timeout"] in ("_TIMEOUT", "timedelta(seconds=10)")
        assert short or "heartbeat_timeout" in given, f"line {node.lineno}"
