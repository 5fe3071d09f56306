"""Figures become a table between the marks of a document, and nothing else changes."""

import json

from dev.chaos_report import BEGIN, END, inserted, newest, table


def line(test: str, form: str, **numbers: float) -> str:
    return json.dumps(
        {"test": test, "form": form, "at": "2026-11-21T10:00:00+00:00", "numbers": numbers}
    )


def test_the_newest_long_form_counts() -> None:
    lines = [
        line("T10 b", "short", runs=1),
        line("T10 b", "short", runs=2),
        line("T2 a", "long", runs_lost=0),
        line("T2 a", "short", runs_lost=9),
        line("T2 a", "long", runs_lost=1),
    ]
    assert table(newest(lines)).splitlines()[2:] == [
        "| T2 a | long | 2026-11-21 | runs lost 1 |",
        "| T10 b | short | 2026-11-21 | runs 2 |",
    ]


def test_what_stands_around_the_table_stays() -> None:
    text = f"# Title\n\nWords.\n{BEGIN}\nold\n{END}\n\nMore.\n"
    found = inserted(text, "new")
    assert found == f"# Title\n\nWords.\n{BEGIN}\nnew\n{END}\n\nMore.\n"
    assert inserted(found, "new") == found
    assert inserted("# Title\n", "new") == f"# Title\n\n{BEGIN}\nnew\n{END}\n"
