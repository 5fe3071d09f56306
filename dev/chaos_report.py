"""Writes the figures that tests have measured into docs/reliability.md, between its marks.

Run as `python -m dev.chaos_report`. Of each test the newest long form counts, else the newest
short one.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
FIGURES = _ROOT / ".sojourn" / "figures.jsonl"
DOCUMENT = _ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_NUMBER = re.compile(r"\d+")


def newest(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Choose each test's line by its name: the last of its long form, else of its short one."""
    chosen: dict[str, dict[str, Any]] = {}
    for line in lines:
        found = json.loads(line)
        before = chosen.get(found["test"])
        if before is None or found["form"] == "long" or before["form"] == "short":
            chosen[found["test"]] = found
    return chosen


def table(chosen: Mapping[str, Mapping[str, Any]]) -> str:
    """Give the figures as a table in Markdown, in the order of the promises' numbers."""
    rows = ["| test | form | measured | figures |", "|---|---|---|---|"]
    for name in sorted(chosen, key=_order):
        found = chosen[name]
        numbers = ", ".join(
            f"{label.replace('_', ' ')} {value}" for label, value in found["numbers"].items()
        )
        rows.append(f"| {name} | {found['form']} | {found['at'][:10]} | {numbers} |")
    return "\n".join(rows)


def _order(name: str) -> tuple[int, str]:
    number = _NUMBER.search(name)
    return int(number.group()) if number else 10_000, name


def inserted(text: str, rows: str) -> str:
    """Put the table between the marks, at the end of a text that has none yet."""
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{rows}\n{END}{tail}"


def main() -> None:
    """Read the figures and write the document; SystemExit when nothing was measured."""
    if not FIGURES.exists():
        raise SystemExit(f"there is no {FIGURES}: run `make chaos`, or the tests, first")
    rows = table(newest(FIGURES.read_text(encoding="utf-8").splitlines()))
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "# Reliability\n"
    DOCUMENT.write_text(inserted(text, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
