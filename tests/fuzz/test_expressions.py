"""The expression engine under a search for texts that break it, in processes of their own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.evidence import figures
from tests.fuzz.expressions import has_atheris

ROOT = Path(__file__).parents[2]
MEBIBYTES = 64
# Of real time (s); a search's own measures are of CPU.
PATIENCE = 3 * 3600


@dataclass(frozen=True)
class Plan:
    """One search: how many texts, led by coverage or not, over variables of how many entries."""

    runs: int
    guided: bool = False
    cut: int | None = None

    def options(self) -> list[str]:
        """Give it as the process takes it."""
        return [
            *(() if self.guided else ("--blind",)),
            *(("--cut", str(self.cut)) if self.cut else ()),
        ]


USUAL = [Plan(100_000)]
# Under coverage everything takes some five times as long, so what is large is left to the other.
LONG = [Plan(100_000), Plan(1_000_000, guided=True, cut=30)] if has_atheris() else [Plan(1_000_000)]


def _run(*arguments: str, hash_seed: str = "0") -> str:
    """Run the search's program; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.expressions", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    return done.stdout.decode()


def _search(plan: Plan, out: Path, seed: int, *more: str) -> dict[str, Any]:
    """Search, and give the report."""
    options = ["--runs", str(plan.runs), "--seed", str(seed), "--out", str(out), *plan.options()]
    _run("search", *options, *more)
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def test_nothing_but_expression_errors(long: bool, tmp_path: Path) -> None:
    """No text raises another exception, grows the memory, or comes out differently again."""
    seed = int(os.environ.get("SOJOURN_CHAOS_SEED", "20"))
    for number, plan in enumerate(LONG if long else USUAL):
        out = tmp_path / str(number)
        report = _search(plan, out, seed)
        told = f"seed {seed}, {plan}: {json.dumps(report, indent=1)}"
        assert report["execs"] == plan.runs
        # Both kinds of texts, or the mutations have become tame or wild.
        assert 0.1 < report["evaluated"] / report["execs"] < 0.9, told
        assert report["findings"] == {}, told
        assert report["differing"] == {}, told
        assert report["grown"] <= MEBIBYTES, told
        again = [
            json.loads(_run("replay", "--out", str(out), *plan.options(), hash_seed=hash_seed))
            for hash_seed in ("1", "4242")
        ]
        assert again[0]["digest"] == again[1]["digest"], told
        figures(
            f"T10 expressions led by {report['guide']}",
            execs=report["execs"],
            evaluated=report["evaluated"],
            budgets_spent=report["budgets_spent"],
            other_exceptions=len(report["findings"]),
            different_when_repeated=len(report["differing"]),
            replayed_under_other_hash_seeds=report["kept"],
            worst_evaluation_ms=round(min(one["worst_ms"] for one in again), 1),
            mebibytes_grown=round(report["grown"], 1),
            cpu_seconds=round(report["cpu"]),
            seed=seed,
        )


@pytest.mark.parametrize(
    ("wrong", "guided"),
    [
        ("raise", False),
        ("steps", False),
        ("leak", False),
        pytest.param(
            "raise", True, marks=pytest.mark.skipif(not has_atheris(), reason="needs atheris")
        ),
    ],
)
def test_a_broken_function_is_found(wrong: str, guided: bool, tmp_path: Path, long: bool) -> None:
    """A control: a function that raises, pays unevenly or keeps memory does not stay unseen."""
    if guided and not long:
        pytest.skip("only the long form is led by coverage")
    plan = Plan(10_000, guided=guided, cut=30)
    report = _search(plan, tmp_path, 20, "--break", wrong)
    assert bool(report["findings"]) == (wrong == "raise")
    assert bool(report["differing"]) == (wrong == "steps")
    assert (report["grown"] > MEBIBYTES) == (wrong == "leak")
