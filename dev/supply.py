"""Check what the product is built from: hashes, licences, known vulnerabilities.

`python -m dev.supply` exits with 1 where a locked file has no hash, a licence is not on the list,
or a package has a known vulnerability. Where the vulnerability service cannot be reached it says
how many packages were not checked: that is no pass, and no failure of the code either.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_BIN = Path(sys.executable).parent
# Licences that allow what an Apache-2.0 service does with a package it does not change.
_ALLOWED = re.compile(
    r"^(the )?(mit|mit-0|apache|bsd|[023]-clause bsd|isc|psf|python software|cnri|unlicense|mpl"
    r"|mozilla public license 2|0bsd|zlib)",
    re.IGNORECASE,
)
_DEADLINE = 90


def unhashed(lock: dict[str, Any]) -> Iterator[str]:
    """Name the packages of a `uv.lock` with a file that has no SHA-256."""
    for package in lock["package"]:
        if "registry" not in package["source"]:
            if package["source"] != {"editable": "."}:
                yield f"{package['name']}: not from a registry"
            continue
        files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        if not files or any(not file.get("hash", "").startswith("sha256:") for file in files):
            yield f"{package['name']} {package['version']}: a file without a hash"


def disallowed(licences: list[dict[str, str]]) -> Iterator[str]:
    """Name the packages whose licence is not on the list; `licences` as pip-licenses gives them.

    Of licences joined by AND or `;` each must be allowed, of those joined by OR one.
    """
    for package in licences:
        text = package["License"].strip()
        parts = re.split(r"\s+AND\s+|;\s*", text.splitlines()[0]) if text else [""]
        for part in parts:
            if not any(_ALLOWED.match(choice.strip("() ")) for choice in part.split(" OR ")):
                yield f"{package['Name']}: licence {part or 'unknown'!r}"
                break


def vulnerable(report: dict[str, Any]) -> tuple[list[str], int, int]:
    """Give what pip-audit's report names, how many packages it checked and how many it did not."""
    found: list[str] = []
    checked = skipped = 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            skipped += 1
            continue
        checked += 1
        for problem in package["vulns"]:
            fixed = ", ".join(problem["fix_versions"]) or "no version"
            found.append(
                f"{package['name']} {package['version']}: {problem['id']}, fixed in {fixed}"
            )
    return found, checked, skipped


def _run(program: str, *arguments: str) -> str:
    command = [str(_BIN / program), *arguments]
    # pip-audit exits with 1 when it has found something; what it printed says so too.
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, timeout=_DEADLINE, check=False
    )
    if not done.stdout:
        raise SystemExit(f"{program} failed:\n{done.stderr}")
    return done.stdout


def _runtime(lock: dict[str, Any]) -> set[str]:
    """Give the names of what an installation with all extras holds."""
    packages = {package["name"]: package for package in lock["package"]}
    ours = packages["sojourn"]
    todo = [*ours["dependencies"], *(d for e in ours["optional-dependencies"].values() for d in e)]
    names: set[str] = set()
    while todo:
        package = todo.pop()
        extras = [
            dependency
            for extra in package.get("extra", [])
            for dependency in packages[package["name"]].get("optional-dependencies", {})[extra]
        ]
        todo.extend(extras)
        if package["name"] not in names:
            names.add(package["name"])
            todo.extend(packages[package["name"]].get("dependencies", []))
    return names


def main() -> int:
    """Run the three checks and print what they found."""
    lock = tomllib.loads((_ROOT / "uv.lock").read_text())
    problems = list(unhashed(lock))
    names = sorted(_runtime(lock))
    licences = _run("pip-licenses", "--from=mixed", "--format=json", "--packages", *names)
    problems += disallowed(json.loads(licences))
    found, checked, skipped = vulnerable(
        json.loads(_run("pip-audit", "--format=json", "--progress-spinner=off", "--timeout=5"))
    )
    problems += found
    state = f"{checked} packages checked, {len(found)} known vulnerabilities"
    if skipped:
        # pip-audit itself calls this "no known vulnerabilities found".
        state += f"; {skipped} NOT CHECKED, the service does not know them or did not answer"
    sys.stdout.write(
        f"{len(lock['package']) - 1} packages locked by hash, {len(names)} at run time\n{state}\n"
    )
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
