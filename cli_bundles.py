"""Commands that carry definitions: export, import, graphs of visual builders, the gallery."""

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.bundle import Bundle, dump_bundle, dump_yaml, parse_bundle
from schemas.document import parse_document
from schemas.errors import Problem
from terminal import (
    AsJson,
    Exit,
    api,
    err,
    leave,
    out,
    print_json,
    print_problems,
    print_table,
    read_data,
    told,
)

app = typer.Typer()
gallery = typer.Typer(help="Ready-made definitions, to be copied.")
app.add_typer(gallery, name="gallery")


class Mode(StrEnum):
    """What an import does with what exists and is different."""

    CREATE = "create"
    UPDATE = "update"
    SKIP = "skip"


Tests = Annotated[
    Path | None,
    typer.Option("--tests", help="The folder of test files.", file_okay=False),
]


@app.command("export")
def export_bundle(
    definitions: Annotated[
        list[str] | None, typer.Argument(help="Names; everything without.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, instead of standard output.")
    ] = None,
    tests: Tests = None,
) -> None:
    """Write definitions, with their templates, forms and triggers, as one YAML document.

    With --tests the test files of those definitions in that folder are in it, too.
    """
    with api() as remote:
        names = ",".join(definitions) if definitions else None
        text = remote.get_text("/export", definitions=names)
        if tests is not None:
            bundle = parse_bundle(text)
            text = dump_bundle(bundle.model_copy(update={"tests": _tests_of(bundle, tests)}))
    if to is None:
        sys.stdout.write(text)
        return
    to.write_text(text, encoding="utf-8", newline="")
    err.print(f"wrote {to}")


def _tests_of(bundle: Bundle, folder: Path) -> dict[str, str]:
    """Give the test files of a folder that are about definitions of the bundle."""
    names = {one.name for one in bundle.definitions}
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.test.y*ml")):
        text = path.read_text(encoding="utf-8")
        with told(path):
            said = parse_document(text).data
        about = Path(str(said.get("definition", ""))).stem if isinstance(said, dict) else ""
        if about in names or path.name.split(".")[0] in names:
            found[path.name] = text
    return found


@app.command("import")
def import_bundle(
    file: Annotated[Path, typer.Argument(help="A bundle.", exists=True, dir_okay=False)],
    mode: Annotated[
        Mode, typer.Option(help="What exists and is different: refuse it, change it, leave it.")
    ] = Mode.CREATE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    enable: Annotated[
        bool, typer.Option("--enable", help="Triggers arrive as they are, not disabled.")
    ] = False,
    tests: Tests = None,
    as_json: AsJson = False,
) -> None:
    """Store a bundle, whole or not at all; it starts nothing.

    With --tests its test files are written into that folder; those that are there stay.
    Exit code 1 also when a dry run finds what would refuse the import.
    """
    text = file.read_text(encoding="utf-8")
    with told(file):
        bundle = parse_bundle(text)
    with api() as remote:
        answer = remote.post_source(
            "/import",
            text,
            mode=str(mode),
            dry_run=str(dry_run).lower(),
            enable=str(enable).lower(),
        )
    if tests is not None and not dry_run:
        tests.mkdir(parents=True, exist_ok=True)
        for name, content in bundle.tests.items():
            _write(tests / name, content)
    _print_import(answer, as_json)
    if any(one["action"] == "refuse" for one in answer["items"]):
        leave(Exit.FAILED)


def _print_import(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    print_table(
        ("name", "kind", "action", "version", "enabled"),
        [
            (one["name"], one["kind"], one["action"], one["version"], one["enabled"])
            for one in answer["items"]
        ],
    )
    for one in answer["items"]:
        print_problems([Problem.model_validate(each) for each in one["problems"]])
        if one["url"]:
            err.print(f"{one['name']}: deliveries go to {one['url']} (shown once)")
    for one in answer["missing"]:
        err.print(f"missing: {one['kind']} {one['name']!r}, for {', '.join(one['needed_by'])}")
    if answer["dry_run"]:
        err.print("nothing was stored: this was a dry run")


def _write(path: Path, text: str) -> None:
    """Write a new file; one that is there stays, and is said."""
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        err.print(f"{path} is there already and stays")
        return
    err.print(f"wrote {path}")


@app.command("from-graph")
def from_graph(
    file: Annotated[
        Path, typer.Argument(help="Nodes and edges in JSON or YAML.", exists=True, dir_okay=False)
    ],
) -> None:
    """Print the graph of a visual builder as a definition; nothing is sent anywhere.

    Exit code 1 when something in it must be mended; the definition is printed all the same.
    """
    from pydantic import ValidationError

    from activities.registry import load
    from schemas.errors import Severity
    from schemas.graph_import import VisualGraph, convert
    from schemas.validation import check

    data = read_data(file)
    catalogue = load()
    try:
        graph = VisualGraph.model_validate(data)
    except ValidationError as error:
        for item in error.errors()[:20]:
            where = ".".join(str(part) for part in item["loc"])
            err.print(f"{file} {where}: {item['msg']}")
        raise typer.Exit(Exit.FAILED) from None
    with told(file):
        found = convert(graph, catalogue.specs())
    problems = [*found.problems, *check(found.definition, catalogue).problems]
    sys.stdout.write(found.definition)
    print_problems(problems)
    if any(one.severity is Severity.ERROR for one in problems):
        leave(Exit.FAILED)


@gallery.callback(invoke_without_command=True)
def list_gallery(context: typer.Context, as_json: AsJson = False) -> None:
    """List the ready-made definitions that come with this version."""
    if context.invoked_subcommand is not None:
        return
    with api() as remote:
        found = remote.get("/gallery")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "tags", "description"),
        [(one["name"], ", ".join(one["tags"]), one["description"]) for one in found],
    )


GalleryName = Annotated[str, typer.Argument(metavar="NAME", help="A name of the gallery.")]


@gallery.command("show")
def show_entry(name: GalleryName, as_json: AsJson = False) -> None:
    """Print a ready-made definition."""
    with api() as remote:
        found = remote.get(f"/gallery/{name}")
    if as_json:
        print_json(found)
        return
    sys.stdout.write(found["source"])
    for kind in ("templates", "forms"):
        for one in found[kind]:
            err.print(f"with the {kind.removesuffix('s')} {one['name']}")
    for need in found["needs"]:
        err.print(f"needs the {need}")


@gallery.command()
def install(
    name: GalleryName,
    as_: Annotated[str | None, typer.Option("--as", help="A name of its own.")] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Also write it, its templates and its tests here.", file_okay=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a ready-made definition, with its templates and forms, and publish it."""
    with api() as remote:
        entry = remote.get(f"/gallery/{name}") if save is not None else None
        answer = remote.post(f"/gallery/{name}/install", {"as": as_})
    if save is not None and entry is not None:
        _save(entry, as_ or name, save)
    _print_import(answer, as_json)


def _save(entry: dict[str, Any], name: str, folder: Path) -> None:
    """Lay the files out as the gallery has them: definition, `templates/`, `tests/`."""
    for part in ("templates", "tests"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    source = re.sub(r"(?m)^name:[ \t]*\S+", f"name: {name}", entry["source"], count=1)
    _write(folder / f"{name}.yaml", source)
    for one in entry["templates"]:
        kept = {key: value for key, value in one.items() if value is not None}
        _write(folder / "templates" / f"{one['name']}.yaml", dump_yaml(kept))
    if entry["test"] is not None:
        test = entry["test"].replace(f"../{entry['name']}.yaml", f"../{name}.yaml")
        _write(folder / "tests" / f"{name}.test.yaml", test)
    out.print(f"try it: sojourn test {folder / 'tests'}")
