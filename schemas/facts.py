"""What an expression makes sure of, and what it reads where that is not sure.

A small flow analysis in the manner of null checks in typed languages: `steps.x.output != null`
makes sure of the output in what is evaluated only when it holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from schemas.cel import ast
from schemas.cel.parser import parse
from schemas.cel.references import static_chain
from schemas.errors import ExpressionError

# A fact is a tuple of words: ("value", *chain) the value is not null, ("has", *chain) the field
# is there, ("ran", step), ("verdict", step, "true"), ("variant", step, name), ("later",) for an
# index above 0.
Fact = tuple[str, ...]
Facts = frozenset[Fact]
Chain = tuple[str, ...]

NOTHING: Final[Facts] = frozenset()
_LATER: Final[Facts] = frozenset({("later",)})


@dataclass(frozen=True)
class Read:
    """A field or item read from the value of a chain; `facts` hold wherever it is evaluated."""

    chain: Chain
    field: str | None
    offset: int
    facts: Facts


@lru_cache(maxsize=1024)
def parsed(source: str) -> ast.Node | None:
    """Parse an expression; None where it cannot be."""
    try:
        return parse(source)
    except ExpressionError:
        return None


def facts(node: ast.Node, verdict: bool) -> Facts:
    """Give what is sure when a condition has turned out as `verdict`."""
    if isinstance(node, ast.Unary) and node.sign == "!":
        return facts(node.operand, not verdict)
    if isinstance(node, ast.Logical):
        if verdict is not (node.sign == "&&"):
            return NOTHING
        return NOTHING.union(*(facts(operand, verdict) for operand in node.operands))
    if isinstance(node, ast.Compare):
        return _compared(node, verdict)
    if isinstance(node, ast.Has):
        chain = _chain(node.target)
        owner = _chain(node.target.operand)
        found = {("has", *chain)} if chain and verdict else set[Fact]()
        # `has` of a field of null is an error, so that any verdict says that it is not null.
        return frozenset(found | ({("value", *owner)} if owner else set()))
    if isinstance(node, ast.Default):
        return _defaulted(node, verdict)
    chain = _chain(node)
    if chain and len(chain) == 3 and chain[0] == "steps" and chain[2] == "output":
        return frozenset({("verdict", chain[1], str(verdict).lower()), ("value", *chain)})
    return NOTHING


def _compared(node: ast.Compare, verdict: bool) -> Facts:
    left, right = node.left, node.right
    if isinstance(left, ast.Literal):
        left, right = right, left
    if not isinstance(right, ast.Literal):
        return NOTHING
    if isinstance(left, ast.Ident) and left.name == "index":
        return _LATER if _excludes_first(node, right.value, verdict) else NOTHING
    if node.sign not in ("==", "!="):
        return NOTHING
    equal = (node.sign == "==") is verdict
    if isinstance(left, ast.Default):
        fallback = left.fallback
        known = isinstance(fallback, ast.Literal)
        # The value is not the fallback, so it is that of the chain.
        differs = known and (fallback.value == right.value) is not equal
        return _holders(left.value) if differs else NOTHING
    chain = _chain(left)
    return _equal(chain, right.value, equal) if chain else NOTHING


def _equal(chain: Chain, value: Any, equal: bool) -> Facts:
    if value is None:
        return NOTHING if equal else frozenset({("value", *chain)})
    if chain[0] != "steps" or not equal:
        return NOTHING
    if chain[2:] == ("status",) and value == "completed":
        return frozenset({("ran", chain[1])})
    if chain[2:] == ("output",) and isinstance(value, bool):
        return frozenset({("verdict", chain[1], str(value).lower()), ("value", *chain)})
    if chain[2:] == ("output", "variant") and isinstance(value, str):
        return frozenset({("variant", chain[1], value)})
    return NOTHING


def _excludes_first(node: ast.Compare, value: Any, verdict: bool) -> bool:
    if isinstance(node.left, ast.Literal) or type(value) is not int:
        return False
    tests = {"==": value == 0, "!=": value != 0, ">": value < 0, ">=": value <= 0}
    tests |= {"<": value > 0, "<=": value >= 0}
    return node.sign in tests and tests[node.sign] is not verdict


def _defaulted(node: ast.Default, verdict: bool) -> Facts:
    fallback = node.fallback
    if isinstance(fallback, ast.Literal) and fallback.value is (not verdict):
        return _holders(node.value) | facts(node.value, verdict)
    return NOTHING


def _holders(node: ast.Node) -> Facts:
    """What must be there for a chain to have given a value: itself, and all it goes through."""
    chain = _chain(node) or ()
    whole = {("value", *chain[:end]) for end in range(2, len(chain) + 1)}
    return frozenset(whole | {("has", *chain[:end]) for end in range(2, len(chain) + 1)})


def reads(node: ast.Node, known: Facts = NOTHING) -> Iterator[Read]:
    """Give each field or item that an expression reads from a chain of names.

    What `default` takes the place of is left out: nothing can be missing there.
    """
    if isinstance(node, ast.Default):
        yield from reads(node.fallback, known)
    elif isinstance(node, ast.Logical):
        yield from _in_logical(node, known)
    elif isinstance(node, ast.Conditional):
        yield from _in_conditional(node, known)
    elif isinstance(node, ast.Has):
        # The field itself may be missing, what it is asked of may not.
        chain = _chain(node.target.operand)
        if chain:
            yield Read(chain, None, node.target.name_offset, known)
        yield from reads(node.target.operand, known)
    elif isinstance(node, ast.Comprehension):
        yield from reads(node.source, known)
        for part in node.body():
            found = reads(part, known)
            yield from (one for one in found if one.chain[0] != node.variable)
    else:
        yield from _read(node, known)
        for child in node.children():
            yield from reads(child, known)


def _in_logical(node: ast.Logical, known: Facts) -> Iterator[Read]:
    # An error on one side does not count when another side decides.
    sure = [facts(operand, node.sign == "&&") for operand in node.operands]
    telling = [index for index, found in enumerate(sure) if found]
    for index, operand in enumerate(node.operands):
        others = NOTHING.union(*(sure[other] for other in telling if other != index))
        yield from reads(operand, known | others)


def _in_conditional(node: ast.Conditional, known: Facts) -> Iterator[Read]:
    for condition, value in node.branches:
        yield from reads(condition, known)
        yield from reads(value, known | facts(condition, True))
        known |= facts(condition, False)
    yield from reads(node.otherwise, known)


def _read(node: ast.Node, known: Facts) -> Iterator[Read]:
    if isinstance(node, ast.Select):
        chain = _chain(node.operand)
        if chain:
            yield Read(chain, node.field, node.name_offset, known)
    elif isinstance(node, ast.Index):
        chain = _chain(node.operand)
        literal = isinstance(node.key, ast.Literal) and isinstance(node.key.value, str)
        if chain:
            field = node.key.value if isinstance(node.key, ast.Literal) and literal else None
            yield Read(chain, field, node.key.offset, known)


def _chain(node: ast.Node) -> Chain | None:
    found = static_chain(node)
    return found[1] if found is not None else None


def step_places(node: ast.Node) -> dict[int, str]:
    """Give the names that an expression reads from `steps`, by the offset at which each stands."""
    return {
        read.offset: read.field
        for read in _every_read(node)
        if read.chain == ("steps",) and read.field is not None
    }


def _every_read(node: ast.Node) -> Iterator[Read]:
    yield from _read(node, NOTHING)
    for child in node.children():
        yield from _every_read(child)
