"""`sojourn chaos`: definitions that hold under crashes, and one that does not."""

import json
import subprocess
import sys
from pathlib import Path

from activities.registry import load
from testing.chaos_session import find_cases, run_chaos

_DEFINITION = """
name: order
output: {total: "{{ steps.charge.output.body.total }}", said: "{{ vars.said }}"}
steps:
  - {id: charge, type: http, with: {url: "https://shop.example.com/charge", method: POST}}
  - {id: wait, type: delay, for: 3d}
  - {id: tell, type: email, with: {to: a@example.com, subject: Paid, text: Thank you}}
  - {id: note, type: set, vars: {said: true}}
"""
_CALM = """
definition: order.yaml
cases:
  - name: paid
    mocks: {charge: {body: {total: 7}}}
    expect: {output: {total: 7, said: true}, mails: [{to: a@example.com}]}
"""
# What answers otherwise when it is asked again: no key keeps it from charging twice.
_FORGETFUL = """
definition: order.yaml
cases:
  - name: paid
    mocks: {charge: [{result: {body: {total: 7}}}, {result: {body: {total: 14}}}]}
"""
_ONE_STEP = """
name: order
output: {total: "{{ steps.charge.output.body.total }}"}
steps: [{id: charge, type: http, with: {url: "https://shop.example.com/charge", method: POST}}]
"""
_EVERY = 3 + 3  # around each of two actions


def written(folder: Path, cases: str, definition: str = _DEFINITION) -> Path:
    (folder / "order.yaml").write_text(definition)
    (folder / "order.test.yaml").write_text(cases)
    return folder / "order.yaml"


async def test_a_crash_at_any_boundary_changes_nothing(tmp_path: Path) -> None:
    registry = load()
    report = await run_chaos(find_cases(written(tmp_path, _CALM), registry), registry)
    [case] = report.cases
    assert [row.differences for row in case.rows] == [[]] * len(case.rows)
    assert report.ok
    assert (case.status, case.calls) == ("completed", 2)
    assert len(case.rows) > _EVERY
    assert [row.crashes for row in case.rows] == [1] * len(case.rows)
    repeated = {row.crash: row.repeats for row in case.rows if not row.crash.startswith("record")}
    assert repeated == {
        "charge: before its call": 0,
        "charge: after its effect, before that is reported": 1,
        "charge: after it is recorded": 0,
        "tell: before its call": 0,
        "tell: after its effect, before that is reported": 1,
        "tell: after it is recorded": 0,
    }


def test_a_result_that_depends_on_the_attempt_is_found_out(tmp_path: Path) -> None:
    file = written(tmp_path, _FORGETFUL, _ONE_STEP)
    program = str(Path(sys.executable).parent / "sojourn")
    done = subprocess.run(
        [program, "chaos", str(file), "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert not report["ok"]
    [case] = report["cases"]
    found = {row["crash"]: row["differences"] for row in case["rows"] if row["differences"]}
    assert "charge: after its effect, before that is reported" in found
    assert "charge: before its call" not in found
    assert all("output.total is 14, not 7" in each for each in found.values())


async def test_a_step_at_most_once_is_parked_and_never_repeated(tmp_path: Path) -> None:
    definition = """
name: order
steps:
  - id: tell
    type: email
    delivery: at_most_once
    with: {to: a@example.com, subject: Paid, text: Thank you}
"""
    cases = "{definition: order.yaml, cases: [{name: told, expect: {mails: [{step: tell}]}}]}"
    registry = load()
    report = await run_chaos(find_cases(written(tmp_path, cases, definition), registry), registry)
    [case] = report.cases
    assert report.ok, report.to_json()
    assert {row.crash: (row.repeats, row.parked) for row in case.rows} == {
        "tell: before its call": (0, 0),
        "tell: after its effect, before that is reported": (0, 1),
        "tell: after it is recorded": (0, 0),
        "record 1 of the run's state: kept": (0, 0),
    }


async def test_random_crashes_come_of_their_seed(tmp_path: Path) -> None:
    registry = load()
    suite = find_cases(written(tmp_path, _CALM), registry)
    reports = [await run_chaos(suite, registry, seed=7, rounds=1) for _ in range(2)]
    crashes = [[row.crash for row in report.cases[0].rows] for report in reports]
    assert crashes[0] == crashes[1]
    assert len(crashes[0]) == 1
    assert all(report.ok for report in reports)


def test_what_cannot_be_tried_is_told(tmp_path: Path) -> None:
    (tmp_path / "alone.yaml").write_text(_DEFINITION)
    program = str(Path(sys.executable).parent / "sojourn")
    done = subprocess.run(
        [program, "chaos", str(tmp_path / "alone.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "has no test file" in done.stderr
