"""Finds what an expression reads: the static chains of names that start at a variable."""

from schemas.cel import ast
from schemas.cel.values import TYPE_NAMES


def references(tree: ast.Node) -> frozenset[tuple[str, ...]]:
    """Return each chain, as long as it is known: `steps["a"].output.x` is four names.

    A chain ends at a call, a loop or an index that is not a literal string. Loop variables and
    the names of types are left out.
    """
    found: set[tuple[str, ...]] = set()
    _collect(tree, frozenset(), found)
    return frozenset(found)


def _collect(node: ast.Node, bound: frozenset[str], found: set[tuple[str, ...]]) -> None:
    if isinstance(node, ast.Comprehension):
        _collect(node.source, bound, found)
        for part in node.body():
            _collect(part, bound | {node.variable}, found)
        return
    chain = static_chain(node)
    if chain is not None:
        root, names = chain
        is_type = root.name in TYPE_NAMES or names[:2] == ("google", "protobuf")
        if not is_type and (root.absolute or root.name not in bound):
            found.add(names)
        return
    for child in node.children():
        _collect(child, bound, found)


def static_chain(node: ast.Node) -> tuple[ast.Ident, tuple[str, ...]] | None:
    """Return the root and the names if `node` is a name with fields and literal indexes only."""
    names: list[str] = []
    while not isinstance(node, ast.Ident):
        if isinstance(node, ast.Select):
            names.append(node.field)
            node = node.operand
        elif isinstance(node, ast.Index) and _literal_name(node.key) is not None:
            names.append(_literal_name(node.key) or "")
            node = node.operand
        else:
            return None
    return node, (node.name, *reversed(names))


def _literal_name(node: ast.Node) -> str | None:
    if isinstance(node, ast.Literal) and isinstance(node.value, str):
        return node.value
    return None
