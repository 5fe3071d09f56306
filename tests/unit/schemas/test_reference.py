"""The reference in docs/language.md names every field, rule and limit of the language."""

import re
from pathlib import Path

import pytest

from schemas import definition, run, steps_flow
from schemas.definition import Definition
from schemas.errors import ErrorCode
from schemas.rules import Rule
from schemas.steps import CONTROL_KINDS, ActionStep, StepBase
from schemas.steps_wait import Escalate, Remind, Window

TEXT = (Path(__file__).parents[3] / "docs" / "language.md").read_text()
# Whatever stands between backticks.
WORDS = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", TEXT))))


@pytest.mark.parametrize(
    "model",
    [Definition, StepBase, ActionStep, Window, Remind, Escalate, *CONTROL_KINDS.values()],
    ids=lambda model: model.__name__,
)
def test_every_field_is_described(model: type[StepBase]) -> None:
    fields = {field.alias or name for name, field in model.model_fields.items()}
    assert fields - WORDS == set()


def test_every_kind_rule_and_code_is_described() -> None:
    assert set(CONTROL_KINDS) - WORDS == set()
    assert {str(rule) for rule in Rule} - WORDS == set()
    assert {str(code) for code in ErrorCode} - WORDS == set()


@pytest.mark.parametrize(
    "number",
    [
        f"{definition.MAX_BYTES // 1024} KiB",
        definition.MAX_STEPS,
        definition.MAX_DEPTH,
        steps_flow.MAX_BRANCHES,
        steps_flow.MAX_ITEMS,
        steps_flow.MAX_ITERATIONS,
        f"{run.MAX_INPUT_BYTES // 1024**2} MiB",
        f"{run.MAX_OUTPUT_BYTES // 1024} KiB",
        f"{run.MAX_STATE_BYTES / 1024**2} MiB",
        run.MAX_MAILBOX,
        run.MAX_EVENTS,
        run.MAX_RUN_DEPTH,
        run.MAX_OPEN_SUB_RUNS,
    ],
)
def test_every_limit_has_its_number(number: int | str) -> None:
    limits = TEXT[TEXT.index("## Limits") : TEXT.index("## Error codes")]
    shown = f"{number:,}" if isinstance(number, int) else number
    assert re.search(rf"(?<![\d,]){re.escape(shown)}(?![\d,])", limits)
