"""The command that crashes workers under a definition's own test cases: chaos."""

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from schemas.errors import SojournError

if TYPE_CHECKING:
    from testing.cases import Case
    from testing.chaos_session import CaseChaos, Row

app = typer.Typer()
_out = Console(highlight=False, soft_wrap=True, markup=False)
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
_DIFFERENT, _BAD = 1, 2


@app.command()
def chaos(
    file: Annotated[
        Path, typer.Argument(help="A definition with a test file, or that.", exists=True)
    ],
    case: Annotated[str | None, typer.Option(help="Only cases whose name holds this text.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Crash at random places drawn from this, not at every one.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Random runs of each case.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Crash the worker at every step boundary of a definition's cases, with time skipped.

    Exit code 0 when effects and results are always as in the calm run, 1 when they are not, 2 when
    it cannot be tried.
    """
    from activities.registry import load
    from process import leave
    from testing.chaos_session import find_cases, run_chaos

    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    registry = load()
    shown = _Shown()
    try:
        report = asyncio.run(
            run_chaos(
                find_cases(file, registry),
                registry,
                only=case,
                seed=seed,
                rounds=rounds,
                on_row=None if as_json else shown.row,
                on_case=None if as_json else shown.case,
            )
        )
    except SojournError as error:
        _err.print(f"{error.code}: {error.message}")
        if error.hint:
            _err.print(f"hint: {error.hint}")
        leave(_BAD)
    if as_json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    else:
        rows = [row for each in report.cases for row in each.rows]
        crashes = sum(row.crashes for row in rows)
        repeats = sum(row.repeats for row in rows)
        differing = sum(bool(row.differences) for row in rows)
        drawn = "" if report.seed is None else f", seed: {report.seed}"
        _out.print(
            f"cases: {len(report.cases)}, crashes: {crashes}, calls repeated under their keys:"
            f" {repeats}, runs with differences: {differing}{drawn}",
            style="green" if report.ok else "bold red",
        )
    leave(0 if report.ok else _DIFFERENT)


class _Shown:
    """What is printed while cases run."""

    def __init__(self) -> None:
        self._named: str | None = None

    def row(self, case: "Case", row: "Row") -> None:
        if self._named != case.name:
            _out.print(case.name, style="bold")
            self._named = case.name
        mark, style = ("parked", "green") if row.parked else ("ok", "green")
        if row.differences:
            mark, style = "DIFFERS", "bold red"
        if not row.crashes:
            mark, style = "not met", "yellow"
        _out.print(f"  {mark:8}", style=style, end="")
        repeated = f"  ({row.repeats} repeated)" if row.repeats else ""
        _out.print(f"{row.crash}{repeated}")
        for line in row.differences:
            _out.print(f"            {line}", style="red")

    def case(self, found: "CaseChaos") -> None:
        if found.failures:
            _out.print(f"{found.name}: the calm run does not hold", style="bold red")
            for line in found.failures:
                _out.print(f"    {line}", style="red")
