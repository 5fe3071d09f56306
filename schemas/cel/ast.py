"""The nodes of a parsed expression. Offsets count characters from the start of the source."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """One node: where it starts, and how many levels it has."""

    offset: int
    depth: int

    def children(self) -> "tuple[Node, ...]":
        """Return the nodes right below, in source order."""
        return ()


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant."""

    value: Any


@dataclass(frozen=True, slots=True)
class Ident(Node):
    """A name; `absolute` (`.name`) never means a loop variable."""

    name: str
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`operand.field`; `name_offset` is the place of the field's name."""

    operand: Node
    field: str
    name_offset: int

    def children(self) -> tuple[Node, ...]:
        """Return the operand."""
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`operand[key]`."""

    operand: Node
    key: Node

    def children(self) -> tuple[Node, ...]:
        """Return the operand and the key."""
        return (self.operand, self.key)


@dataclass(frozen=True, slots=True)
class Has(Node):
    """`has(operand.field)`."""

    target: Select

    def children(self) -> tuple[Node, ...]:
        """Return the field selection."""
        return (self.target,)


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`name(arguments)`, or `receiver.name(arguments)` with the receiver as first argument."""

    name: str
    method: bool
    arguments: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        """Return the receiver, if any, and the arguments."""
        return self.arguments


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`!operand` or `-operand`; doubled signs are gone."""

    sign: str
    operand: Node

    def children(self) -> tuple[Node, ...]:
        """Return the operand."""
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """A chain of one precedence level, `first (sign operand)+`, evaluated from the left."""

    first: Node
    rest: tuple[tuple[str, int, Node], ...]

    def children(self) -> tuple[Node, ...]:
        """Return the operands."""
        return (self.first, *(operand for _, _, operand in self.rest))


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """`left sign right` with one of `== != < <= > >= in`; `sign_offset` is the sign's place."""

    sign: str
    sign_offset: int
    left: Node
    right: Node

    def children(self) -> tuple[Node, ...]:
        """Return both sides."""
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Logical(Node):
    """A chain of `&&`, or of `||`."""

    sign: str
    operands: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        """Return the operands."""
        return self.operands


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """`a ? b : c ? d : … : otherwise`, as a list of (condition, value)."""

    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node

    def children(self) -> tuple[Node, ...]:
        """Return the conditions, the values and the last value."""
        return (*(node for branch in self.branches for node in branch), self.otherwise)


@dataclass(frozen=True, slots=True)
class ListLiteral(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        """Return the items."""
        return self.items


@dataclass(frozen=True, slots=True)
class MapLiteral(Node):
    """`{a: b}`."""

    entries: tuple[tuple[Node, Node], ...]

    def children(self) -> tuple[Node, ...]:
        """Return the keys and the values."""
        return tuple(node for entry in self.entries for node in entry)


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """A macro over a list or a map's keys: `all exists exists_one filter map`.

    `condition` is the predicate, or the middle argument of a three-argument `map`; `value` is
    what `map` collects.
    """

    macro: str
    source: Node
    variable: str
    condition: Node | None
    value: Node | None

    def body(self) -> tuple[Node, ...]:
        """Return the nodes evaluated for each item."""
        return tuple(node for node in (self.condition, self.value) if node is not None)

    def children(self) -> tuple[Node, ...]:
        """Return the source and the body."""
        return (self.source, *self.body())


@dataclass(frozen=True, slots=True)
class Default(Node):
    """`default(value, fallback)`: the fallback where the value is missing or null."""

    value: Node
    fallback: Node

    def children(self) -> tuple[Node, ...]:
        """Return both arguments."""
        return (self.value, self.fallback)


def count(node: Node) -> int:
    """Return the number of nodes of a tree."""
    total = 0
    stack = [node]
    while stack:
        total += 1
        stack.extend(stack.pop().children())
    return total
