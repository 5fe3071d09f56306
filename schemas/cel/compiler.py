"""Turns a tree into closures: each node becomes one function of the evaluation's state."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.cel import ast
from schemas.cel.budget import Evaluation
from schemas.cel.functions import FUNCTIONS, call_problem, unknown_function
from schemas.cel.loops import Loop, loop
from schemas.cel.operators import ARITHMETIC, negate
from schemas.cel.problems import MissingValue, located, no_overload
from schemas.cel.values import (
    INT_MAX,
    INT_MIN,
    TYPE_NAMES,
    TypeValue,
    index,
    kind_of,
    select,
)
from schemas.cel.verdicts import conditional, equality, logical, membership, ordering
from schemas.errors import ExpressionError

Run = Callable[[Evaluation], Any]

_WELL_KNOWN: Final[dict[tuple[str, ...], str]] = {
    ("google", "protobuf", "Timestamp"): "google.protobuf.Timestamp",
    ("google", "protobuf", "Duration"): "google.protobuf.Duration",
}


class Compiler:
    """Compiles one expression; `slots` is how many loop variables live at the same time."""

    def __init__(self) -> None:
        """Start without loop variables."""
        self.slots = 0
        self._scope: list[str] = []
        self._visitors: dict[type[ast.Node], Callable[[Any], Run]] = {
            ast.Literal: self._literal,
            ast.Ident: self._path,
            ast.Select: self._path,
            ast.Index: self._index,
            ast.Has: self._has,
            ast.Call: self._call,
            ast.Unary: self._unary,
            ast.Arithmetic: self._arithmetic,
            ast.Compare: self._compare,
            ast.Logical: self._logical,
            ast.Conditional: self._conditional,
            ast.ListLiteral: self._list,
            ast.MapLiteral: self._map,
            ast.Comprehension: self._comprehension,
            ast.Default: self._default,
        }

    def compile(self, node: ast.Node) -> Run:
        """Return the closure of `node`; raises ExpressionError for what can never run."""
        return self._visitors[type(node)](node)

    def _literal(self, node: ast.Literal) -> Run:
        value = node.value
        return lambda _: value

    def _root(self, node: ast.Node) -> Run:
        if not isinstance(node, ast.Ident):
            return self.compile(node)
        name, offset = node.name, node.offset
        if not node.absolute and name in self._scope:
            slot = len(self._scope) - 1 - self._scope[::-1].index(name)
            return lambda evaluation: evaluation.locals[slot]
        if name in TYPE_NAMES:
            value = TypeValue(name)
            return lambda _: value

        def variable(evaluation: Evaluation) -> Any:
            try:
                return evaluation.variables[name]
            except KeyError:
                raise MissingValue(
                    f"unknown name `{name[:80]}`",
                    name=name,
                    candidates=evaluation.variables,
                    offset=offset,
                ) from None

        return variable

    def _path(self, node: ast.Node) -> Run:
        steps: list[ast.Select] = []
        while isinstance(node, ast.Select):
            steps.append(node)
            node = node.operand
        steps.reverse()
        fields = tuple(step.field for step in steps)
        if isinstance(node, ast.Ident):
            type_name = _WELL_KNOWN.get((node.name, *fields))
            if type_name is not None and node.name not in self._scope:
                value = TypeValue(type_name)
                return lambda _: value
        root = self._root(node)
        if not fields:
            return root

        def path(evaluation: Evaluation) -> Any:
            value = root(evaluation)
            done = 0
            try:
                for field in fields:
                    value = value[field] if type(value) is dict else select(value, field)
                    done += 1
            except KeyError:
                select_at(value, steps[done])
            except ExpressionError as error:
                located(error, steps[done].name_offset)
                raise
            return value

        return path

    def _index(self, node: ast.Index) -> Run:
        operand, key, offset = (
            self.compile(node.operand),
            self.compile(node.key),
            node.key.offset,
        )

        def run(evaluation: Evaluation) -> Any:
            container = operand(evaluation)
            name = key(evaluation)
            try:
                return index(evaluation, container, name)
            except ExpressionError as error:
                located(error, offset)
                raise

        return run

    def _has(self, node: ast.Has) -> Run:
        target = node.target
        operand, field, offset = (
            self.compile(target.operand),
            target.field,
            target.name_offset,
        )

        def run(evaluation: Evaluation) -> bool:
            value = operand(evaluation)
            if isinstance(value, Mapping):
                return field in value
            try:
                select(value, field)
            except ExpressionError as error:
                located(error, offset)
                raise
            raise AssertionError

        return run

    def _call(self, node: ast.Call) -> Run:
        function = FUNCTIONS.get(node.name)
        if function is None:
            message, hint = unknown_function(node.name)
            raise ExpressionError(message, offset=node.offset, hint=hint)
        problem = call_problem(function, len(node.arguments), method=node.method)
        if problem is not None:
            message, hint = problem
            raise ExpressionError(message, offset=node.offset, hint=hint)
        arguments = tuple(self.compile(argument) for argument in node.arguments)
        find, offset = function.find, node.offset

        def run(evaluation: Evaluation) -> Any:
            values = [argument(evaluation) for argument in arguments]
            try:
                return find(values)(evaluation, *values)
            except ExpressionError as error:
                located(error, offset)
                raise

        return run

    def _unary(self, node: ast.Unary) -> Run:
        operand, offset, negative = (
            self.compile(node.operand),
            node.offset,
            node.sign == "-",
        )

        def run(evaluation: Evaluation) -> Any:
            value = operand(evaluation)
            try:
                if negative:
                    return negate(value)
                if value is True or value is False:
                    return not value
                raise no_overload("!", kind_of(value))
            except ExpressionError as error:
                located(error, offset)
                raise

        return run

    def _arithmetic(self, node: ast.Arithmetic) -> Run:
        first = self.compile(node.first)
        rest = tuple(
            (sign == "+", ARITHMETIC[sign], offset, self.compile(operand))
            for sign, offset, operand in node.rest
        )

        def run(evaluation: Evaluation) -> Any:
            value = first(evaluation)
            for is_sum, apply, offset, operand in rest:
                other = operand(evaluation)
                if is_sum and type(value) is int and type(other) is int:
                    total = value + other
                    if INT_MIN <= total <= INT_MAX:
                        value = total
                        continue
                try:
                    value = apply(evaluation, value, other)
                except ExpressionError as error:
                    located(error, offset)
                    raise
            return value

        return run

    def _compare(self, node: ast.Compare) -> Run:
        left, right = self.compile(node.left), self.compile(node.right)
        sign, offset = node.sign, node.sign_offset
        if sign == "in":
            return membership(left, right, offset)
        if sign in ("==", "!="):
            return equality(left, right, offset, wanted=sign == "==")
        return ordering(left, right, offset, sign)

    def _logical(self, node: ast.Logical) -> Run:
        operands = tuple((self.compile(operand), operand.offset) for operand in node.operands)
        return logical(operands, node.sign)

    def _conditional(self, node: ast.Conditional) -> Run:
        branches = tuple(
            (self.compile(condition), self.compile(value), condition.offset)
            for condition, value in node.branches
        )
        return conditional(branches, self.compile(node.otherwise))

    def _list(self, node: ast.ListLiteral) -> Run:
        items = tuple(self.compile(item) for item in node.items)
        return lambda evaluation: [item(evaluation) for item in items]

    def _map(self, node: ast.MapLiteral) -> Run:
        entries = tuple((self.compile(k), self.compile(v), k.offset) for k, v in node.entries)

        def run(evaluation: Evaluation) -> Any:
            result: dict[Any, Any] = {}
            for key, value, offset in entries:
                name = key(evaluation)
                try:
                    kind = kind_of(name)
                    if kind not in ("string", "int", "uint", "bool"):
                        raise ExpressionError(f"a {kind} cannot be a key of a map")
                    if name in result:
                        raise ExpressionError("two keys of the map are equal")
                except ExpressionError as error:
                    located(error, offset)
                    raise
                result[name] = value(evaluation)
            return result

        return run

    def _comprehension(self, node: ast.Comprehension) -> Run:
        source = self.compile(node.source)
        self._scope.append(node.variable)
        slot = len(self._scope) - 1
        self.slots = max(self.slots, len(self._scope))
        condition = self.compile(node.condition) if node.condition else None
        value = self.compile(node.value) if node.value else None
        self._scope.pop()
        cost = 2 + sum(ast.count(part) for part in node.body())
        return loop(Loop(node, source, condition, value, slot, cost))

    def _default(self, node: ast.Default) -> Run:
        value, fallback = self.compile(node.value), self.compile(node.fallback)

        def run(evaluation: Evaluation) -> Any:
            try:
                result = value(evaluation)
            except MissingValue:
                evaluation.charge(8)
                result = None
            return fallback(evaluation) if result is None else result

        return run


def select_at(value: Any, step: ast.Select) -> None:
    """Raise the error of a field that is not there, with its place."""
    try:
        select(value, step.field)
    except ExpressionError as error:
        located(error, step.name_offset)
        raise
