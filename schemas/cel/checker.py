"""Checks an expression before it runs: unknown names, and types that can never fit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from schemas.cel import ast
from schemas.cel.budget import BudgetExceeded
from schemas.cel.functions import FUNCTIONS, call_problem, unknown_function
from schemas.cel.functions_text import compiled_pattern, pattern_cost
from schemas.cel.parser import parse
from schemas.cel.problems import nearest, quoted
from schemas.cel.registry import Function
from schemas.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    Type,
    comparable,
    join,
    list_of,
    map_of,
    type_named,
)
from schemas.cel.values import NUMERIC, TYPE_NAMES, Uint
from schemas.errors import ExpressionError


@dataclass(frozen=True, slots=True)
class CheckProblem:
    """One thing wrong with an expression; `offset` counts characters from its start.

    `rule` is one of syntax, limit-expression, unknown-name, unknown-field, unknown-function and
    type-clash.
    """

    message: str
    offset: int
    hint: str | None = None
    rule: str = "type-clash"


def check(source: str, variables: Mapping[str, Type]) -> tuple[Type, list[CheckProblem]]:
    """Return the type of the expression's value and all its problems, in source order.

    A syntax error is a single problem. Never raises.
    """
    try:
        tree = parse(source)
    except ExpressionError as error:
        return DYN, [CheckProblem(error.message, error.offset or 0, error.hint, _rule(error))]
    checker = _Checker(variables)
    result = checker.type_of(tree)
    unique = dict.fromkeys(checker.problems)
    return result, sorted(unique, key=lambda problem: problem.offset)


def _rule(error: ExpressionError) -> str:
    return "limit-expression" if isinstance(error, BudgetExceeded) else "syntax"


_LITERALS: Final[dict[type, Type]] = {
    bool: BOOL,
    int: INT,
    Uint: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    type(None): NULL,
}

_SUMS: Final[dict[tuple[str, str, str], Type]] = {
    ("+", "string", "string"): STRING,
    ("+", "bytes", "bytes"): BYTES,
    ("+", "timestamp", "duration"): TIMESTAMP,
    ("+", "duration", "timestamp"): TIMESTAMP,
    ("+", "duration", "duration"): DURATION,
    ("-", "timestamp", "timestamp"): DURATION,
    ("-", "timestamp", "duration"): TIMESTAMP,
    ("-", "duration", "duration"): DURATION,
}
_HINTS: Final = 20
_ORDERED: Final = frozenset({"bool", "string", "bytes", "timestamp", "duration"}) | NUMERIC


class _Checker:
    def __init__(self, variables: Mapping[str, Type]) -> None:
        self.problems: list[CheckProblem] = []
        self._variables = variables
        self._scope: list[tuple[str, Type]] = []
        self._visitors: dict[type[ast.Node], Callable[[Any], Type]] = {
            ast.Literal: self._literal,
            ast.Ident: self._ident,
            ast.Select: self._select,
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

    def _problem(
        self, message: str, offset: int, hint: str | None = None, rule: str = "type-clash"
    ) -> Type:
        self.problems.append(CheckProblem(message, offset, hint, rule))
        return DYN

    def _nearest(self, name: str, candidates: Iterable[str]) -> str | None:
        # A hint takes a hundred times as long as what it belongs to; nobody reads so many.
        return nearest(name, candidates) if len(self.problems) < _HINTS else None

    def type_of(self, node: ast.Node) -> Type:
        """Return a node's type, noting problems on the way."""
        return self._visitors[type(node)](node)

    def _literal(self, node: ast.Literal) -> Type:
        return _LITERALS.get(type(node.value), DYN)

    def _select(self, node: ast.Select) -> Type:
        if ast_type_name(node):
            return TYPE
        return self._field(self.type_of(node.operand), node.field, node.name_offset)

    def _has(self, node: ast.Has) -> Type:
        target = node.target
        self._field(self.type_of(target.operand), target.field, target.name_offset)
        return BOOL

    def _logical(self, node: ast.Logical) -> Type:
        for operand in node.operands:
            self._want_bool(operand)
        return BOOL

    def _conditional(self, node: ast.Conditional) -> Type:
        for condition, _ in node.branches:
            self._want_bool(condition)
        values = [self.type_of(value) for _, value in node.branches]
        return join([*values, self.type_of(node.otherwise)])

    def _list(self, node: ast.ListLiteral) -> Type:
        return list_of(join([self.type_of(item) for item in node.items]))

    def _default(self, node: ast.Default) -> Type:
        return join([self.type_of(node.value), self.type_of(node.fallback)])

    def _ident(self, node: ast.Ident) -> Type:
        if not node.absolute:
            for name, type_ in reversed(self._scope):
                if name == node.name:
                    return type_
        if node.name in TYPE_NAMES:
            return TYPE
        if node.name in self._variables:
            return self._variables[node.name]
        names = chain((name for name, _ in self._scope), sorted(self._variables))
        return self._problem(
            f"unknown name `{node.name[:80]}`",
            node.offset,
            self._nearest(node.name, names),
            "unknown-name",
        )

    def _field(self, owner: Type, field: str, offset: int) -> Type:
        if owner.kind == "map":
            if owner.fields is None:
                return owner.element or DYN
            if field in owner.fields:
                return owner.fields[field]
            if not owner.closed:
                return DYN
            hint = self._nearest(field, owner.fields)
            if hint is None and owner.fields and len(owner.fields) <= 12:
                hint = f"there are: {', '.join(owner.fields)}"
            message = f"unknown field {quoted(field)}"
            return self._problem(message, offset, hint, "unknown-field")
        if owner.kind in ("dyn", "null_type"):
            return DYN
        return self._problem(f"{_article(owner)} has no fields", offset)

    def _index(self, node: ast.Index) -> Type:
        owner, key = self.type_of(node.operand), self.type_of(node.key)
        if owner.kind == "list":
            if key.kind not in NUMERIC and key.kind != "dyn":
                self._problem(f"the index of a list must be an int, not {key}", node.key.offset)
            return owner.element or DYN
        if owner.kind == "map":
            if isinstance(node.key, ast.Literal) and isinstance(node.key.value, str):
                return self._field(owner, node.key.value, node.key.offset)
            return owner.element or DYN
        if owner.kind in ("dyn", "null_type"):
            return DYN
        return self._problem(f"{_article(owner)} has no items to index", node.key.offset)

    def _call(self, node: ast.Call) -> Type:
        types = [self.type_of(argument) for argument in node.arguments]
        function = FUNCTIONS.get(node.name)
        if function is None:
            message, hint = unknown_function(node.name)
            return self._problem(message, node.offset, hint, "unknown-function")
        wrong = call_problem(function, len(types), method=node.method)
        if wrong is not None:
            message, hint = wrong
            return self._problem(message, node.offset, hint)
        if node.name == "matches":
            self._pattern(node.arguments[-1])
        results = _results(function, types)
        if results:
            return join(results)
        shown = ", ".join(str(type_) for type_ in types)
        return self._problem(f"{node.name}() does not take ({shown})", node.offset)

    def _pattern(self, node: ast.Node) -> None:
        if isinstance(node, ast.Literal) and isinstance(node.value, str):
            try:
                pattern_cost(node.value)
                compiled_pattern(node.value)
            except ExpressionError as error:
                self._problem(error.message, node.offset)

    def _unary(self, node: ast.Unary) -> Type:
        if node.sign == "!":
            self._want_bool(node.operand)
            return BOOL
        type_ = self.type_of(node.operand)
        if type_.kind in ("int", "double", "dyn"):
            return type_
        return self._problem(f"- does not take {_article(type_)}", node.offset)

    def _arithmetic(self, node: ast.Arithmetic) -> Type:
        result = self.type_of(node.first)
        for sign, offset, operand in node.rest:
            result = self._sum(sign, result, self.type_of(operand), offset)
        return result

    def _sum(self, sign: str, left: Type, right: Type, offset: int) -> Type:
        if "dyn" in (left.kind, right.kind):
            return DYN
        if left.kind == right.kind and left.kind in NUMERIC:
            if sign != "%" or left.kind != "double":
                return left
        elif {left.kind, right.kind} == {"int", "double"} and sign != "%":
            return DOUBLE
        if sign == "+" and left.kind == right.kind == "list":
            return list_of(join([left.element or DYN, right.element or DYN]))
        known = _SUMS.get((sign, left.kind, right.kind))
        if known is not None:
            return known
        return self._problem(
            f"{sign} does not take ({left}, {right})",
            offset,
            _conversion(sign, left, right),
        )

    def _compare(self, node: ast.Compare) -> Type:
        left, right = self.type_of(node.left), self.type_of(node.right)
        kinds = (left.kind, right.kind)
        if node.sign == "in":
            if right.kind not in ("list", "map", "dyn"):
                hint = "write text.contains(part)" if kinds == ("string", "string") else None
                self._problem(
                    f"in needs a list or a map, not {_article(right)}",
                    node.sign_offset,
                    hint,
                )
            elif right.kind == "list" and not comparable(left, right.element or DYN):
                self._problem(f"{_article(left)} is never in a {right}", node.sign_offset)
        elif node.sign in ("==", "!="):
            if not comparable(left, right):
                self._clash(node, left, right)
        elif "dyn" not in kinds:
            numeric = left.kind in NUMERIC and right.kind in NUMERIC
            if not numeric and (left.kind != right.kind or left.kind not in _ORDERED):
                self._clash(node, left, right)
        return BOOL

    def _clash(self, node: ast.Compare, left: Type, right: Type) -> None:
        self._problem(
            f"{node.sign} does not compare {_article(left)} with {_article(right)}",
            node.sign_offset,
            _conversion(node.sign, left, right),
        )

    def _want_bool(self, node: ast.Node) -> None:
        type_ = self.type_of(node)
        if type_.kind not in ("bool", "dyn"):
            self._problem(f"expected a bool, found {_article(type_)}", node.offset)

    def _map(self, node: ast.MapLiteral) -> Type:
        fields: dict[str, Type] = {}
        for key, value in node.entries:
            kind = self.type_of(key).kind
            if kind not in ("string", "int", "uint", "bool", "dyn"):
                self._problem(f"a key of a map cannot be {kind}", key.offset)
            type_ = self.type_of(value)
            if isinstance(key, ast.Literal) and isinstance(key.value, str):
                fields[key.value] = type_
        if len(fields) == len(node.entries):
            return Type("map", None, fields, closed=True, required=frozenset(fields))
        return map_of(DYN)

    def _comprehension(self, node: ast.Comprehension) -> Type:
        source = self.type_of(node.source)
        item = DYN
        if source.kind == "list":
            item = source.element or DYN
        elif source.kind == "map" and source.fields is not None:
            item = STRING
        elif source.kind not in ("map", "dyn"):
            self._problem(
                f"{node.macro}() needs a list or a map, not {_article(source)}",
                node.offset,
            )
        self._scope.append((node.variable, item))
        if node.condition is not None:
            self._want_bool(node.condition)
        value = self.type_of(node.value) if node.value is not None else item
        self._scope.pop()
        return list_of(value) if node.macro in ("map", "filter") else BOOL


def _results(function: Function, types: list[Type]) -> list[Type]:
    """Return the result types of the overloads that could take these arguments."""
    return [
        type_named(result)
        for kinds, (_, result) in function.overloads.items()
        if len(kinds) == len(types)
        and all(
            kind in ("any", type_.kind) or type_.kind == "dyn"
            for kind, type_ in zip(kinds, types, strict=True)
        )
    ]


def _article(type_: Type) -> str:
    name = str(type_)
    return name if name == "null" else f"{'an' if name[0] in 'aiu' else 'a'} {name}"


def _conversion(sign: str, left: Type, right: Type) -> str | None:
    kinds = {left.kind, right.kind}
    if "string" not in kinds or kinds == {"string"}:
        return None
    if kinds & {"timestamp", "duration"}:
        name = "timestamp" if "timestamp" in kinds else "duration"
        return f"convert the string with {name}(…)"
    if sign == "+":
        return "convert to text with string(…)"
    if kinds & NUMERIC:
        return "convert the string with int(…) or double(…)"
    return None


def ast_type_name(node: ast.Select) -> bool:
    """Tell whether the node is `google.protobuf.Timestamp` or `.Duration`."""
    owner = node.operand
    return (
        node.field in ("Timestamp", "Duration")
        and isinstance(owner, ast.Select)
        and owner.field == "protobuf"
        and isinstance(owner.operand, ast.Ident)
        and owner.operand.name == "google"
    )
