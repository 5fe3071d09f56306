"""Commands that show what definitions do: test, graph, explain, replay."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from schemas.durations import parse_duration
from schemas.errors import SojournError

if TYPE_CHECKING:
    from remote import Remote
    from schemas.definition import Definition
    from testing.loading import BadFile, Suite
    from testing.outcome import Outcome
    from testing.replaying import Replayed
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


class GraphFormat(StrEnum):
    """How `sojourn graph` draws."""

    MERMAID = "mermaid"
    SVG = "svg"


DefinitionFile = Annotated[
    Path, typer.Argument(help="A definition in YAML or JSON.", exists=True, dir_okay=False)
]


@contextmanager
def _told(file: Path | None = None) -> Iterator[None]:
    """Turn our errors into a message, their places and exit code 2."""
    try:
        yield
    except SojournError as error:
        _err.print(f"{error.code}: {error.message}")
        for problem in error.problems:
            place = problem.position
            where = f"{file}:{place.line}:{place.column} " if place and file else ""
            hint = f" ({problem.hint})" if problem.hint else ""
            _err.print(f"{where}{problem.path}: {problem.message}{hint}")
        if error.hint:
            _err.print(f"hint: {error.hint}")
        _leave(2)


@app.command()
def graph(
    file: DefinitionFile,
    style: Annotated[
        GraphFormat, typer.Option("--format", help="Mermaid text, or a drawing in SVG.")
    ] = GraphFormat.MERMAID,
) -> None:
    """Print a definition as a graph."""
    from activities.registry import load
    from schemas.diagram import diagram, mermaid
    from schemas.drawing import svg
    from schemas.validation import load_definition

    with _told(file):
        found = diagram(load_definition(file.read_text(encoding="utf-8"), load()))
        sys.stdout.write(svg(found) if style is GraphFormat.SVG else mermaid(found))


@app.command()
def explain(run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]) -> None:
    """Say in words what a run did, what it waits for and what comes next."""
    from remote import Remote
    from schemas.definition import Definition
    from testing.story import tell

    with _told():
        remote = Remote.found()
        found = remote.get(f"/runs/{run}")
        steps = remote.get(f"/runs/{run}/steps")
        stored = remote.get(f"/definitions/{found['definition']}/versions/{found['version']}")
        definition = Definition.model_validate(stored["definition"])
        for line in tell(found, steps, definition, datetime.now(UTC)):
            _out.print(line)


@app.command()
def replay(
    file: DefinitionFile,
    last: Annotated[str, typer.Option(help="How far back: 7d, 12h.", metavar="DURATION")] = "7d",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many runs.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Run what recorded runs were given through a candidate, and say where they go another way.

    Nothing is sent anywhere: the recorded results of their steps answer. Exit code 0 when every
    run goes as it went, 1 when one does not, 2 when it cannot be tried.
    """
    from remote import Remote
    from testing.replaying import REPLAYABLE, Replayed

    _quiet()
    with _told(file):
        try:
            since = datetime.now(UTC) - parse_duration(last)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--last") from None
        candidate = _candidate(file)
        remote = Remote.found()
        recorded = list(_recorded(remote, candidate.name, since, REPLAYABLE, limit))
        found: list[Replayed] = asyncio.run(_replay_all(candidate, recorded)) if recorded else []
    changed = [each for each in found if not each.same]
    if as_json:
        told = [{"run": each.run_id, "differences": each.differences} for each in found]
        sys.stdout.write(json.dumps({"runs": told, "changed": len(changed)}, indent=2) + "\n")
    else:
        for each in changed:
            _out.print(f"{each.run_id}", style="bold")
            for line in each.differences:
                _out.print(f"    {line}", style="yellow")
        same = len(found) - len(changed)
        _out.print(f"{same} of {len(found)} runs go as they went, {len(changed)} do not")
    _leave(1 if changed else 0)


def _candidate(file: Path) -> "Definition":
    from activities.registry import load
    from schemas.validation import load_definition

    return load_definition(file.read_text(encoding="utf-8"), load())


_Recorded = tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None]


def _recorded(
    remote: "Remote", definition: str, since: datetime, statuses: tuple[str, ...], limit: int
) -> Iterator[_Recorded]:
    """Give the closed runs since a time, newest first, with their steps and leads."""
    cursor: str | None = None
    left = limit
    while left > 0:
        page = remote.get(
            "/runs",
            definition=definition,
            status=list(statuses),
            cursor=cursor,
            limit=min(left, 200),
            **{"from": since.isoformat()},
        )
        for item in page["items"]:
            run = remote.get(f"/runs/{item['id']}")
            if run["started_at"] is not None:
                left -= 1
                yield run, remote.get(f"/runs/{item['id']}/steps"), _lead_of(remote, run)
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _lead_of(remote: "Remote", run: dict[str, Any]) -> dict[str, Any] | None:
    """Give a run's lead as it is now: what it was at the run's start is not kept."""
    if run["lead_id"] is None:
        return None
    found = remote.get(f"/leads/{run['lead_id']}")
    return {name: found[name] for name in ("id", "email", "name", "company", "status", "fields")}


async def _replay_all(candidate: "Definition", recorded: list[_Recorded]) -> "list[Replayed]":
    from activities.registry import load
    from testing.bench import Bench
    from testing.replaying import replay as replay_run

    async with Bench.open(load()) as bench:
        return [
            await replay_run(bench, candidate, run, steps, lead) for run, steps, lead in recorded
        ]
