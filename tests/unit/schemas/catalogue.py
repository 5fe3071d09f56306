"""A catalogue of one action, and definitions written step by step, for the tests of the checks."""

from schemas.actions import ActionSpec
from schemas.errors import Problem
from schemas.validation import find_problems

MAIL = ActionSpec(
    name="mail",
    summary="Send",
    params={
        "type": "object",
        "additionalProperties": False,
        "required": ["to"],
        "properties": {
            "to": {"type": "string"},
            "tries": {"type": "integer", "minimum": 1},
        },
    },
    result={
        "type": "object",
        "properties": {"id": {"type": "string"}, "size": {"type": "integer"}},
    },
)


class Actions:
    """A catalogue of one action."""

    def specs(self) -> dict[str, ActionSpec]:
        return {"mail": MAIL}


INPUT = (
    "input: {type: object, properties: {budget: {type: integer}, email: {type: string}, "
    "tags: {type: array, items: {type: string}}}}"
)


def problems_of(*steps: str, head: str = "") -> list[Problem]:
    """Check a definition of these steps, each in a line of its own from line 4 (or 5) on."""
    lines = ["name: test", INPUT, *([head] if head else [])]
    return find_problems("\n".join([*lines, "steps:", *(f"  - {s}" for s in steps)]), Actions())


def rules_of(*steps: str, head: str = "") -> list[tuple[str | None, str]]:
    """Give `(rule, path)` of every problem."""
    return [(one.rule, one.path) for one in problems_of(*steps, head=head)]
