"""Commands about definitions and what they do: test, graph, explain, replay."""

import asyncio
import json
import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from schemas.errors import SojournError

if TYPE_CHECKING:
    from testing.loading import BadFile, Suite
    from testing.outcome import Outcome
    from testing.report import Report

app = typer.Typer()
_out = Console(highlight=False, soft_wrap=True, markup=False)
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def _leave(code: int) -> NoReturn:
    from process import leave

    leave(code)


def _quiet() -> None:
    """Let Temporal's client say nothing: failures are what a test is about."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)


@app.command("test")
def run_tests(
    files: Annotated[
        list[Path], typer.Argument(help="Test files, or folders of *.test.yaml.", exists=True)
    ],
    cover: Annotated[
        float, typer.Option(min=0, max=100, help="Percent of the edges that must be taken.")
    ] = 0.0,
    only: Annotated[
        str | None, typer.Option("-k", "--only", help="Only cases whose name holds this text.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Run definitions against fakes with time skipped.

    Exit code 0 when all holds, 1 for failures or too little coverage, 2 for a bad file.
    """
    from activities.registry import load
    from testing.junit import to_junit
    from testing.report import BAD
    from testing.session import run_files

    _quiet()
    show = None if as_json else _show_case
    try:
        report = asyncio.run(run_files(files, load(), cover=cover, only=only, on_case=show))
    except SojournError as error:
        _err.print(f"{error.code}: {error.message}")
        if error.hint:
            _err.print(f"hint: {error.hint}")
        _leave(BAD)
    if junit is not None:
        junit.write_text(to_junit(report), encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    else:
        _show_report(report)
    _leave(report.exit_code)


def _show_case(suite: "Suite", index: int, outcome: "Outcome") -> None:
    from schemas.durations import format_duration

    seconds = timedelta(seconds=round(outcome.virtual.total_seconds()))
    took = f"{format_duration(seconds)} in {outcome.real * 1000:.0f} ms"
    mark, style = ("ok", "green") if outcome.ok else ("FAILED", "bold red")
    _out.print(mark, style=style, end="")
    _out.print(f"  {suite.definition.name}: {outcome.name}", end="")
    _out.print(f"  ({took})", style="dim")
    position = suite.position(index)
    where = f"{suite.path}:{position.line}" if position else str(suite.path)
    for line in [*outcome.problems, *outcome.failures]:
        _out.print(f"    {where}: {line}", style="red")
    for line in outcome.warnings:
        _out.print(f"    {where}: warning: {line}", style="yellow")


def _show_report(report: "Report") -> None:
    for bad in report.bad:
        _show_bad(bad)
    for path, coverage in report.coverage().items():
        enough = coverage.percent >= report.cover
        counted = f"{len(coverage.taken)} of {len(coverage.edges)} edges"
        required = "" if enough else f"; {report.cover:g} % are required"
        text = f"{path.name}: {coverage.percent:.0f} % branch coverage, {counted}{required}"
        _out.print(text, style=None if enough else "red")
        for edge in coverage.missed:
            _out.print(f"    not taken: {edge}", style="yellow")
    cases = [outcome for result in report.results for outcome in result.outcomes]
    failed = sum(not outcome.ok for outcome in cases)
    verdict = f"{len(cases) - failed} passed, {failed} failed"
    bad_files = f", {len(report.bad)} bad files" if report.bad else ""
    style = "green" if report.exit_code == 0 else "bold red"
    _out.print(f"{verdict}{bad_files} in {report.seconds:.2f} s", style=style)


def _show_bad(bad: "BadFile") -> None:
    _err.print(f"{bad.path}: {bad.message}", style="bold red")
    for problem in bad.problems:
        place = problem.position
        where = f"{bad.path}:{place.line}:{place.column}" if place else str(bad.path)
        hint = f" ({problem.hint})" if problem.hint else ""
        _err.print(f"{where} {problem.path}: {problem.message}{hint}")
