"""What one evaluation may spend: counted in steps and sizes, never in time."""

from collections.abc import Mapping
from typing import Any

from schemas.errors import ExpressionError

MAX_SOURCE = 4096  # bytes of UTF-8
MAX_DEPTH = 32  # levels of the syntax tree
MAX_STEPS = 50_000
MAX_STRING = 65_536  # bytes of UTF-8
MAX_ENTRIES = 10_000  # of one list or map
MAX_RESULT = 262_144  # bytes, as JSON
MAX_VALUE_DEPTH = 64  # levels of a value that an operation walks through


class BudgetExceeded(ExpressionError):
    """An expression wants more than its budget; no operator and no macro absorbs this error."""


class Evaluation:
    """The state of one evaluation: the variables, the loop variables and the steps left.

    A step is one node of the expression. A loop pays the nodes of its body for each item; an
    operation over long strings, lists or maps pays in proportion to their sizes. A pattern pays
    for its compilation when it is first used; `patterns` keeps it for the rest.
    """

    __slots__ = ("locals", "patterns", "steps", "variables")

    def __init__(self, variables: Mapping[str, Any], steps: int, slots: int) -> None:
        """Start with `steps` left and room for `slots` loop variables."""
        self.variables = variables
        self.steps = steps
        self.locals: list[Any] = [None] * slots
        self.patterns: dict[str, Any] | None = None

    def charge(self, steps: int) -> None:
        """Take `steps` off; raises BudgetExceeded when none are left."""
        self.steps -= steps
        if self.steps < 0:
            raise out_of_steps()


def out_of_steps() -> BudgetExceeded:
    """Build the error for an expression that takes too many steps."""
    return BudgetExceeded(
        f"the expression takes more than {MAX_STEPS} steps",
        hint="work on fewer items, or split the work over several steps",
    )


def check_entries(count: int) -> None:
    """Refuse to build a list or map of more than MAX_ENTRIES entries."""
    if count > MAX_ENTRIES:
        raise BudgetExceeded(f"a list or map of {count} entries is above the limit {MAX_ENTRIES}")


def check_length(length: int) -> None:
    """Refuse to build a string of more than MAX_STRING characters or bytes."""
    if length > MAX_STRING:
        raise BudgetExceeded(f"a string of {length} bytes is above the limit {MAX_STRING}")


def built(evaluation: Evaluation, text: str) -> str:
    """Account for a string that an operation has built, and return it.

    The limit holds for its UTF-8 form; one step is paid for each 64 characters.
    """
    length = len(text)
    if length > 64:
        evaluation.charge(length >> 6)
        if length > MAX_STRING >> 2 and not text.isascii():
            length = len(text.encode("utf-8", "surrogatepass"))
        check_length(length)
    return text
