"""A compiled expression: what it refers to, and how to evaluate it."""

from collections.abc import Mapping
from functools import lru_cache
from types import NoneType
from typing import Any, Final

from schemas.cel import ast
from schemas.cel.budget import MAX_RESULT, MAX_STEPS, BudgetExceeded, Evaluation
from schemas.cel.compiler import Compiler, Run
from schemas.cel.parser import parse
from schemas.cel.problems import MissingValue
from schemas.cel.references import references
from schemas.cel.values import kind_of

_SCALARS: Final = frozenset({bool, int, float, NoneType})


class Program:
    """An expression ready to run; it never changes, so runs and threads may share it."""

    __slots__ = ("_run", "_slots", "cost", "references", "source")

    source: str
    references: frozenset[tuple[str, ...]]
    cost: int

    def __init__(self, source: str, tree: ast.Node) -> None:
        """Compile a parsed expression; `cost` is its steps without loops and long values."""
        compiler = Compiler()
        self._run: Run = compiler.compile(tree)
        self._slots = compiler.slots
        self.source = source
        self.references = references(tree)
        self.cost = ast.count(tree)

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Evaluate over `variables`, which are read where needed and never copied or walked.

        The result is plain Python and may share parts with the variables, so it must not be
        changed. Raises ExpressionError.
        """
        return self.evaluate_counted(variables)[0]

    def evaluate_counted(self, variables: Mapping[str, Any]) -> tuple[Any, int]:
        """Evaluate as `evaluate` does; returns the value and the steps it took."""
        evaluation = Evaluation(variables, MAX_STEPS - self.cost, self._slots)
        try:
            value = self._run(evaluation)
        except MissingValue as error:
            error.suggest()
            raise
        if type(value) not in _SCALARS:
            check_result(value)
        return value, MAX_STEPS - evaluation.steps


def check_result(value: Any) -> None:
    """Refuse a result above MAX_RESULT bytes as JSON, or of a type the language does not have."""
    size = 0
    stack = [value]
    while stack:
        one = stack.pop()
        kind = kind_of(one)
        if kind in ("string", "bytes", "type"):
            size += len(one) + 3
        elif kind == "list":
            size += len(one) + 2
            if size <= MAX_RESULT:
                stack.extend(one)
        elif kind == "map":
            size += len(one) * 2 + 2
            if size <= MAX_RESULT:
                stack.extend(one.keys())
                stack.extend(one.values())
        elif kind in ("int", "uint"):
            size += one.bit_length() // 3 + 1
        else:
            size += 4
        if size > MAX_RESULT:
            raise BudgetExceeded(f"the result is larger than {MAX_RESULT} bytes")


@lru_cache(maxsize=4096)
def compile(source: str) -> Program:
    """Parse and compile `source`; raises ExpressionError with the offset of what is wrong."""
    return Program(source, parse(source))
