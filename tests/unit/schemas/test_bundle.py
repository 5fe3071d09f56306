"""Bundles as text: what goes in comes out, whatever it is, and faults have their place."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bundle import (
    Bundle,
    BundledDefinition,
    BundledTrigger,
    dump_bundle,
    dump_yaml,
    parse_bundle,
)
from schemas.document import parse_document
from schemas.errors import DefinitionError, InputError
from schemas.triggers import EventTrigger, ScheduledTrigger

DOC = (Path(__file__).parents[3] / "docs" / "bundles.md").read_text()
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
LINES = st.lists(st.sampled_from(["", " ", "a", " b: 1", "\t", "1e3", "08", "- x", "# c"])).map(
    "\n".join
)
SCALARS = st.one_of(
    TEXT,
    LINES,
    st.sampled_from(
        ["yes", "on", "1e3", "08", "0x1f", "~", "null", "1_000", "2026-01-31", "=", "<<"]
    ),
    st.integers(-(10**18), 10**18),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(TEXT | LINES, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, JSON, min_size=1, max_size=3))
def test_data_come_back_as_they_were(data: dict[str, Any]) -> None:
    assert parse_document(dump_yaml(data)).data == data


@given(TEXT | LINES)
def test_sources_come_back_as_they_were(source: str) -> None:
    bundle = Bundle(definitions=[BundledDefinition(name="a", source=source)])
    text = dump_bundle(bundle)
    assert parse_bundle(text) == bundle
    assert dump_bundle(parse_bundle(text)) == text


def test_a_bundle_is_read_by_people() -> None:
    source = "name: hello\nsteps:\n  # A comment.\n  - {id: a, type: stop}\n"
    bundle = Bundle(
        definitions=[BundledDefinition(name="hello", source=source)],
        triggers=[
            BundledTrigger(
                definition="hello", trigger=ScheduledTrigger(kind="schedule", cron="@daily")
            ),
            BundledTrigger(definition="hello", trigger=EventTrigger(event="order.paid")),
        ],
    )
    assert dump_bundle(bundle) == (
        "sojourn: 1\n"
        "definitions:\n"
        "- name: hello\n"
        "  published: true\n"
        "  source: |\n"
        "    name: hello\n"
        "    steps:\n"
        "      # A comment.\n"
        "      - {id: a, type: stop}\n"
        "triggers:\n"
        "- definition: hello\n"
        "  trigger:\n"
        "    kind: schedule\n"
        "    enabled: true\n"
        "    cron: '@daily'\n"
        "- definition: hello\n"
        "  trigger:\n"
        "    kind: event\n"
        "    enabled: true\n"
        "    event: order.paid\n"
    )


def test_a_fault_has_its_place() -> None:
    text = (
        "sojourn: 1\ndefinitions: []\ntriggers:\n"
        "- definition: a\n  trigger: {kind: schedule, cron: nonsense}\n"
    )
    with pytest.raises(InputError) as caught:
        parse_bundle(text)
    [problem] = caught.value.problems
    assert problem.path == "triggers[0].trigger.cron"
    assert problem.position is not None
    assert problem.position.line == 5


@pytest.mark.parametrize(
    "text", ["name: a\nsteps: []\n", "sojourn: 2\n", "[]", "{}", "sojourn: true"]
)
def test_what_is_no_bundle(text: str) -> None:
    with pytest.raises(InputError, match="no bundle"):
        parse_bundle(text)


def test_what_is_no_yaml() -> None:
    with pytest.raises(DefinitionError):
        parse_bundle("sojourn: [")


def test_the_example_of_the_document_is_a_bundle() -> None:
    [text] = re.findall(r"```yaml\n(sojourn: 1\n.*?)```", DOC, re.DOTALL)
    assert dump_bundle(parse_bundle(text)) == text
