"""Closures that give true or false: comparisons, `in`, `&&`, `||` and the conditional."""

import operator
from collections.abc import Callable
from typing import Any, Final

from schemas.cel.budget import BudgetExceeded, Evaluation
from schemas.cel.problems import located
from schemas.cel.values import compare, contains, equal, kind_of
from schemas.errors import ExpressionError

Run = Callable[[Evaluation], Any]

_SCALARS: Final = frozenset({int, float, bool})
_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

ABSORBED = 8  # steps for an error that an operator swallows; building one costs as much


def not_a_bool(value: Any, offset: int) -> ExpressionError:
    """Build the error for a condition that is neither true nor false."""
    return ExpressionError(f"expected a bool, found a {kind_of(value)}", offset=offset)


def ordering(left: Run, right: Run, offset: int, sign: str) -> Run:
    """Compile `< <= > >=`."""
    native = _ORDERS[sign]

    def run(evaluation: Evaluation) -> bool:
        one, other = left(evaluation), right(evaluation)
        kind = type(one)
        if kind is type(other) and kind in _SCALARS:
            return native(one, other)
        try:
            return compare(evaluation, sign, one, other)
        except ExpressionError as error:
            located(error, offset)
            raise

    return run


def equality(left: Run, right: Run, offset: int, *, wanted: bool) -> Run:
    """Compile `==` (wanted) and `!=`."""

    def run(evaluation: Evaluation) -> bool:
        one, other = left(evaluation), right(evaluation)
        kind = type(one)
        if kind is type(other) and (kind in _SCALARS or (kind is str and len(one) <= 256)):
            return (one == other) is wanted
        try:
            return equal(evaluation, one, other) is wanted
        except ExpressionError as error:
            located(error, offset)
            raise

    return run


def membership(left: Run, right: Run, offset: int) -> Run:
    """Compile `in`."""

    def run(evaluation: Evaluation) -> bool:
        item, container = left(evaluation), right(evaluation)
        try:
            return contains(evaluation, item, container)
        except ExpressionError as error:
            located(error, offset)
            raise

    return run


def logical(operands: tuple[tuple[Run, int], ...], sign: str) -> Run:
    """Compile a chain of `&&` or `||`.

    The deciding value wins over errors on either side of it, as CEL has it; else the first error
    is raised. Spent budgets are never absorbed.
    """
    deciding = sign == "||"
    neutral = not deciding

    def run(evaluation: Evaluation) -> bool:
        failure: ExpressionError | None = None
        for operand, offset in operands:
            try:
                value = operand(evaluation)
                if value is deciding:
                    return deciding
                if value is neutral:
                    continue
                raise not_a_bool(value, offset)
            except BudgetExceeded:
                raise
            except ExpressionError as error:
                evaluation.charge(ABSORBED)
                if failure is None:
                    failure = error.with_traceback(None)
        if failure is not None:
            raise failure
        return neutral

    return run


def conditional(branches: tuple[tuple[Run, Run, int], ...], otherwise: Run) -> Run:
    """Compile `a ? b : c ? d : otherwise`."""

    def run(evaluation: Evaluation) -> Any:
        for condition, value, offset in branches:
            verdict = condition(evaluation)
            if verdict is True:
                return value(evaluation)
            if verdict is not False:
                raise not_a_bool(verdict, offset)
        return otherwise(evaluation)

    return run
