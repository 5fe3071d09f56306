"""A Pratt parser for CEL: chains of one precedence level become one node, not a deep tree."""

from collections.abc import Sequence
from typing import Any, Final

from schemas.cel import ast
from schemas.cel.budget import MAX_DEPTH, BudgetExceeded
from schemas.cel.lexer import Token, tokenize
from schemas.cel.values import INT_MAX, INT_MIN
from schemas.errors import ExpressionError

_TERNARY, _OR, _AND, _RELATION, _ADD, _MULTIPLY = range(1, 7)
_POWERS: Final[dict[str, int]] = {
    "?": _TERNARY,
    "||": _OR,
    "&&": _AND,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), _RELATION),
    **dict.fromkeys(("+", "-"), _ADD),
    **dict.fromkeys(("*", "/", "%"), _MULTIPLY),
}

_RESERVED: Final = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_PREDICATES: Final = frozenset({"all", "exists", "exists_one", "filter"})


def parse(source: str) -> ast.Node:
    """Parse `source` into a tree of at most MAX_DEPTH levels; raises ExpressionError."""
    parser = _Parser(tokenize(source))
    node = parser.expression(_TERNARY)
    parser.expect("end")
    return node


def _deepest(nodes: Sequence[ast.Node]) -> int:
    return max((node.depth for node in nodes), default=0)


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._nesting = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._position]

    def _next(self) -> Token:
        token = self._tokens[self._position]
        self._position += 1
        return token

    def _accept(self, kind: str) -> bool:
        if self._token.kind != kind:
            return False
        self._position += 1
        return True

    def expect(self, kind: str) -> Token:
        """Take a token of this kind or raise."""
        if self._token.kind != kind:
            raise self._unexpected("the end" if kind == "end" else f"`{kind}`")
        return self._next()

    def _unexpected(self, wanted: str) -> ExpressionError:
        token = self._token
        if token.kind == "end":
            found = "the end"
        elif token.kind in ("name", "quoted"):
            found = f"`{token.value[:40]}`"
        elif token.kind in ("int", "literal"):
            found = "a constant"
        else:
            found = f"`{token.kind}`"
        return ExpressionError(f"expected {wanted}, found {found}", offset=token.offset)

    def _depth(self, offset: int, *below: ast.Node) -> int:
        depth = _deepest(below) + 1
        if depth > MAX_DEPTH:
            raise self._too_deep(offset)
        return depth

    def _too_deep(self, offset: int) -> BudgetExceeded:
        return BudgetExceeded(
            f"the expression is nested deeper than {MAX_DEPTH} levels", offset=offset
        )

    def expression(self, power: int) -> ast.Node:
        """Parse what binds at least as tightly as `power`."""
        self._nesting += 1
        if self._nesting > MAX_DEPTH:
            raise self._too_deep(self._token.offset)
        left = self._unary()
        while (operator := _POWERS.get(self._token.kind, 0)) >= power:
            if operator == _TERNARY:
                left = self._conditional(left)
            elif operator in (_OR, _AND):
                left = self._logical(left, operator)
            elif operator == _RELATION:
                sign = self._next()
                right = self.expression(_ADD)
                depth = self._depth(sign.offset, left, right)
                left = ast.Compare(left.offset, depth, sign.kind, sign.offset, left, right)
            else:
                left = self._arithmetic(left, operator)
        self._nesting -= 1
        return left

    def _conditional(self, condition: ast.Node) -> ast.Node:
        branches: list[tuple[ast.Node, ast.Node]] = []
        offset = condition.offset
        while self._accept("?"):
            value = self.expression(_OR)
            self.expect(":")
            branches.append((condition, value))
            condition = self.expression(_OR)
        below = [node for branch in branches for node in branch]
        depth = self._depth(offset, condition, *below)
        return ast.Conditional(offset, depth, tuple(branches), condition)

    def _logical(self, first: ast.Node, power: int) -> ast.Node:
        sign = self._token.kind
        operands = [first]
        while self._accept(sign):
            operands.append(self.expression(power + 1))
        depth = self._depth(first.offset, *operands)
        return ast.Logical(first.offset, depth, sign, tuple(operands))

    def _arithmetic(self, first: ast.Node, power: int) -> ast.Node:
        rest: list[tuple[str, int, ast.Node]] = []
        while _POWERS.get(self._token.kind, 0) == power:
            sign = self._next()
            rest.append((sign.kind, sign.offset, self.expression(power + 1)))
        depth = self._depth(first.offset, first, *(node for _, _, node in rest))
        return ast.Arithmetic(first.offset, depth, first, tuple(rest))

    def _unary(self) -> ast.Node:
        token = self._token
        if token.kind not in ("!", "-"):
            return self._postfix(self._primary())
        signs = 0
        while self._accept(token.kind):
            signs += 1
        if token.kind == "-" and signs == 1 and self._token.kind == "int":
            return self._postfix(self._literal_int(negative=True))
        if self._token.kind in ("!", "-"):
            raise self._unexpected("a value")
        operand = self._postfix(self._primary())
        if signs % 2 == 0:
            return operand
        return ast.Unary(token.offset, self._depth(token.offset, operand), token.kind, operand)

    def _literal_int(self, *, negative: bool) -> ast.Node:
        token = self._next()
        value = -token.value if negative else token.value
        if not INT_MIN <= value <= INT_MAX:
            raise ExpressionError("the integer is out of range", offset=token.offset)
        return ast.Literal(token.offset, 1, value)

    def _primary(self) -> ast.Node:
        token = self._token
        if token.kind == "int":
            return self._literal_int(negative=False)
        if token.kind == "literal":
            self._next()
            return ast.Literal(token.offset, 1, token.value)
        if token.kind == "(":
            self._next()
            node = self.expression(_TERNARY)
            self.expect(")")
            return node
        if token.kind == "[":
            self._next()
            items = self._list("]")
            return ast.ListLiteral(token.offset, self._depth(token.offset, *items), items)
        if token.kind == "{":
            return self._map()
        if token.kind not in ("name", "."):
            raise self._unexpected("a value")
        absolute = self._accept(".")
        name = self.expect("name")
        if name.value in _RESERVED:
            raise ExpressionError(f"`{name.value}` is a reserved word", offset=name.offset)
        if self._token.kind == "(":
            return self._call(name, None)
        return ast.Ident(token.offset, 1, name.value, absolute)

    def _list(self, closing: str) -> tuple[ast.Node, ...]:
        items: list[ast.Node] = []
        while self._token.kind != closing:
            items.append(self.expression(_TERNARY))
            if not self._accept(","):
                break
        self.expect(closing)
        return tuple(items)

    def _map(self) -> ast.Node:
        opening = self._next()
        entries: list[tuple[ast.Node, ast.Node]] = []
        while self._token.kind != "}":
            key = self.expression(_TERNARY)
            self.expect(":")
            entries.append((key, self.expression(_TERNARY)))
            if not self._accept(","):
                break
        self.expect("}")
        below = [node for entry in entries for node in entry]
        depth = self._depth(opening.offset, *below)
        return ast.MapLiteral(opening.offset, depth, tuple(entries))

    def _postfix(self, node: ast.Node) -> ast.Node:
        while True:
            sign = self._token
            if self._accept("["):
                key = self.expression(_TERNARY)
                self.expect("]")
                node = ast.Index(node.offset, self._depth(sign.offset, node, key), node, key)
            elif self._accept("."):
                name = self._token
                if name.kind not in ("name", "quoted"):
                    raise self._unexpected("the name of a field")
                self._next()
                if name.kind == "name" and self._token.kind == "(":
                    node = self._call(name, node)
                else:
                    depth = self._depth(sign.offset, node)
                    node = ast.Select(node.offset, depth, node, name.value, name.offset)
            else:
                return node

    def _call(self, name: Token, receiver: ast.Node | None) -> ast.Node:
        self.expect("(")
        arguments = self._list(")")
        function: Any = name.value
        if receiver is None and function == "has":
            return self._has(name, arguments)
        if receiver is None and function == "default":
            if len(arguments) != 2:
                raise ExpressionError("default() takes a value and a fallback", offset=name.offset)
            depth = self._depth(name.offset, *arguments)
            return ast.Default(name.offset, depth, *arguments)
        if receiver is not None and (
            (function in _PREDICATES and len(arguments) == 2)
            or (function == "map" and len(arguments) in (2, 3))
        ):
            return self._comprehension(name, receiver, arguments)
        if receiver is not None:
            arguments = (receiver, *arguments)
        depth = self._depth(name.offset, *arguments)
        return ast.Call(name.offset, depth, function, receiver is not None, arguments)

    def _has(self, name: Token, arguments: tuple[ast.Node, ...]) -> ast.Node:
        if len(arguments) != 1 or not isinstance(arguments[0], ast.Select):
            raise ExpressionError(
                "has() takes a field", offset=name.offset, hint="write has(input.email)"
            )
        return ast.Has(name.offset, self._depth(name.offset, *arguments), arguments[0])

    def _comprehension(
        self, name: Token, source: ast.Node, arguments: tuple[ast.Node, ...]
    ) -> ast.Node:
        variable, *body = arguments
        if not isinstance(variable, ast.Ident) or variable.absolute:
            raise ExpressionError(
                f"the first argument of {name.value}() must be a name",
                offset=variable.offset,
            )
        value = body.pop() if name.value == "map" else None
        condition = body.pop() if body else None
        depth = self._depth(name.offset, source, *arguments)
        return ast.Comprehension(
            name.offset, depth, name.value, source, variable.name, condition, value
        )
