"""Closures of the macros `all exists exists_one filter map`; each item pays for the whole body."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from schemas.cel import ast
from schemas.cel.budget import BudgetExceeded, Evaluation, check_entries, out_of_steps
from schemas.cel.values import kind_of
from schemas.cel.verdicts import ABSORBED, not_a_bool
from schemas.errors import ExpressionError

Run = Callable[[Evaluation], Any]


@dataclass(frozen=True, slots=True)
class Loop:
    """A compiled macro: `slot` holds its variable, `cost` is the steps of one item."""

    node: ast.Comprehension
    source: Run
    condition: Run | None
    value: Run | None
    slot: int
    cost: int

    def items(self, evaluation: Evaluation) -> Collection[Any]:
        """Evaluate the source: the items of a list, the keys of a map."""
        items = self.source(evaluation)
        if kind_of(items) not in ("list", "map"):
            raise ExpressionError(
                f"{self.node.macro}() needs a list or a map, not a {kind_of(items)}",
                offset=self.node.offset,
            )
        return items


def loop(plan: Loop) -> Run:
    """Return the closure of a macro."""
    if plan.node.macro in ("all", "exists"):
        return _quantifier(plan, deciding=plan.node.macro == "exists")
    if plan.node.macro == "exists_one":
        return _exists_one(plan)
    return _collect(plan)


def _parts(plan: Loop) -> tuple[Run, int]:
    if plan.condition is None or plan.node.condition is None:
        raise AssertionError(plan.node.macro)
    return plan.condition, plan.node.condition.offset


def _quantifier(plan: Loop, *, deciding: bool) -> Run:
    """As a chain of `&&` (all) or `||` (exists): the deciding item wins over errors of others."""
    condition, offset = _parts(plan)
    slot, cost = plan.slot, plan.cost
    neutral = not deciding

    def run(evaluation: Evaluation) -> bool:
        failure: ExpressionError | None = None
        for item in plan.items(evaluation):
            evaluation.steps -= cost
            if evaluation.steps < 0:
                raise out_of_steps()
            evaluation.locals[slot] = item
            try:
                value = condition(evaluation)
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


def _exists_one(plan: Loop) -> Run:
    condition, offset = _parts(plan)
    slot, cost = plan.slot, plan.cost

    def run(evaluation: Evaluation) -> bool:
        found = 0
        for item in plan.items(evaluation):
            evaluation.charge(cost)
            evaluation.locals[slot] = item
            verdict = condition(evaluation)
            if verdict is True:
                found += 1
            elif verdict is not False:
                raise not_a_bool(verdict, offset)
        return found == 1

    return run


def _collect(plan: Loop) -> Run:
    """Compile `filter`, and `map` with and without a condition."""
    condition, value, slot, cost = plan.condition, plan.value, plan.slot, plan.cost
    offset = plan.node.condition.offset if plan.node.condition else plan.node.offset

    def run(evaluation: Evaluation) -> list[Any]:
        result: list[Any] = []
        for item in plan.items(evaluation):
            evaluation.steps -= cost
            if evaluation.steps < 0:
                raise out_of_steps()
            evaluation.locals[slot] = item
            if condition is not None:
                verdict = condition(evaluation)
                if verdict is False:
                    continue
                if verdict is not True:
                    raise not_a_bool(verdict, offset)
            result.append(item if value is None else value(evaluation))
        check_entries(len(result))
        return result

    return run
