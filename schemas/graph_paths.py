"""Paths through a graph of nodes: what dominates a node, and whether any edge must lead to it."""

import heapq
import math
from collections.abc import Collection, Iterable, Sequence
from itertools import product
from typing import Final, NamedTuple

from schemas.definition import MAX_DEPTH
from schemas.errors import LimitError

Label = str | int | bool | None
# The way of a switch that no case takes.
DEFAULT: Final = "\x00default"
# One way of a condition, whose steps are a list of their own; None is the definition's list.
Region = tuple[str, Label] | None
# Looks at edges that finding needless guards may take; beyond them guards are just written.
_LOOKS = 2_000_000


class Edge(NamedTuple):
    """An edge; `source` is empty for what leads from the start, `label` None for always."""

    source: str
    label: Label
    target: str


def find_cycle(edges: Iterable[tuple[str, str]]) -> list[str] | None:
    """Give one cycle, its first node repeated at the end, by peeling nodes without successors."""
    after: dict[str, set[str]] = {}
    for source, target in edges:
        after.setdefault(source, set()).add(target)
        after.setdefault(target, set())
    before: dict[str, list[str]] = {node: [] for node in after}
    for source, targets in after.items():
        for target in targets:
            before[target].append(source)
    left = {node: len(targets) for node, targets in after.items()}
    free = [node for node, count in left.items() if count == 0]
    while free:
        node = free.pop()
        del left[node]
        for source in before[node]:
            left[source] -= 1
            if left[source] == 0:
                free.append(source)
    if not left:
        return None
    # Every node that is left has a successor that is left.
    trail: list[str] = [min(left)]
    while True:
        following = min(node for node in after[trail[-1]] if node in left)
        if following in trail:
            return [*trail[trail.index(following) :], following]
        trail.append(following)


class Paths:
    """The paths of an acyclic graph; `order` decides between nodes that no edge puts in order."""

    def __init__(
        self,
        nodes: Sequence[str],
        edges: Iterable[Edge],
        order: dict[str, tuple[float, int]],
        binary: Collection[str],
    ) -> None:
        """Sort the nodes and find their dominators; `binary` nodes come to true or false.

        Raises LimitError where conditions lie in each other deeper than definitions may.
        """
        self._binary = binary
        self._looks = _LOOKS
        self._into: dict[str, list[Edge]] = {node: [] for node in nodes}
        self._out: dict[str, list[Edge]] = {node: [] for node in nodes}
        for edge in edges:
            self._into[edge.target].append(edge)
            if edge.source:
                self._out[edge.source].append(edge)
        for node, coming in self._into.items():
            if not coming:
                coming.append(Edge("", None, node))
        self._sorted = self._topological(order)
        self._place = {node: index for index, node in enumerate(self._sorted)}
        for coming in self._into.values():
            coming.sort(key=lambda edge: (self._place.get(edge.source, -1), str(edge.label)))
        self._chains: dict[str, list[tuple[str, Label]]] = {}
        for node in self._sorted:
            self._chains[node] = self._chain(node)
        self._away: dict[str, bool] = {}
        self._needed: dict[str, list[str]] = {}

    def _topological(self, order: dict[str, tuple[float, int]]) -> list[str]:
        """Sort by Kahn's algorithm, the lowest order first among those that are free."""
        left = {
            node: sum(1 for edge in coming if edge.source) for node, coming in self._into.items()
        }
        free = [(order[node], node) for node, count in left.items() if count == 0]
        heapq.heapify(free)
        found: list[str] = []
        while free:
            _, node = heapq.heappop(free)
            found.append(node)
            for edge in self._out[node]:
                left[edge.target] -= 1
                if left[edge.target] == 0:
                    heapq.heappush(free, (order[edge.target], edge.target))
        return found

    def _chain(self, node: str) -> list[tuple[str, Label]]:
        """Give the edge dominators: the ways of conditions that every path to a node takes."""
        common: list[tuple[str, Label]] | None = None
        for edge in self._into[node]:
            taken = list(self._chains[edge.source]) if edge.source else []
            if edge.label is not None:
                taken.append((edge.source, edge.label))
            common = taken if common is None else [way for way in common if way in taken]
        if len(common or []) >= MAX_DEPTH:
            raise LimitError(f"conditions lie in each other deeper than {MAX_DEPTH} levels")
        return sorted(common or [], key=lambda way: self._place[way[0]])

    def into(self, node: str) -> list[Edge]:
        """Give the edges that lead to a node."""
        return self._into[node]

    def out_of(self, node: str) -> list[Edge]:
        """Give the edges that lead from a node."""
        return self._out[node]

    def labels(self, node: str) -> list[Label]:
        """Give the ways that edges take from a node, the default last."""
        found = dict.fromkeys(edge.label for edge in self._out[node] if edge.label is not None)
        return sorted(found, key=lambda label: label == DEFAULT)

    def region(self, node: str) -> Region:
        """Give the innermost way that every path to a node takes."""
        chain = self._chains[node]
        return chain[-1] if chain else None

    def members(self, region: Region) -> list[str]:
        """Give the nodes of a region's own list, in order."""
        return [node for node in self._sorted if self.region(node) == region]

    def _head(self, node: str, region: Region) -> str:
        """Give the member of a region that a node below it is part of."""
        chain = self._chains[node]
        depth = chain.index(region) + 1 if region is not None else 0
        return chain[depth][0] if len(chain) > depth else node

    def units_before(self, node: str) -> list[str]:
        """Give the members of the node's list that it waits for, without those implied."""
        direct = self._direct(node)
        implied: set[str] = set()
        pending = list(direct)
        while pending:
            for other in self._direct(pending.pop()):
                if other not in implied:
                    implied.add(other)
                    pending.append(other)
        return [other for other in direct if other not in implied]

    def _direct(self, node: str) -> list[str]:
        if node not in self._needed:
            self._needed[node] = self._find_direct(node)
        return self._needed[node]

    def _find_direct(self, node: str) -> list[str]:
        region = self.region(node)
        heads = {
            self._head(edge.source, region)
            for edge in self._into[node]
            if edge.source and not (region is not None and edge.source == region[0])
        }
        return sorted(heads, key=lambda other: self._place[other])

    def may_stay_away(self, node: str) -> bool:
        """Say whether a node may not run although its list does."""
        if node not in self._away:
            self._away[node] = self._judge(node)
        return self._away[node]

    def _judge(self, node: str) -> bool:
        region = self.region(node)
        entries = [self._enters(edge, region) for edge in self._into[node]]
        if any(entries):
            return False
        above = self._above(node, region)
        chosen = [other for other in above if any(e.label is not None for e in self._out[other])]
        ways = [self._results(other) for other in chosen]
        looks = math.prod(map(len, ways)) * sum(len(self._into[other]) for other in above)
        if looks > self._looks:
            return True
        self._looks -= looks
        return any(
            not self._reached(node, above, region, dict(zip(chosen, taken, strict=True)))
            for taken in product(*ways)
        )

    def _results(self, node: str) -> list[Label]:
        """Give what a node may come to; None is what no edge is about."""
        labels = self.labels(node)
        whole = len(labels) == 2 if node in self._binary else DEFAULT in labels
        return labels if whole else [*labels, None]

    def _enters(self, edge: Edge, region: Region) -> bool:
        return not edge.source if region is None else (edge.source, edge.label) == region

    def _above(self, node: str, region: Region) -> list[str]:
        """Give the nodes of a region on paths to a node, in order."""
        found: set[str] = set()
        pending = [node]
        while pending:
            for edge in self._into[pending.pop()]:
                inside = edge.source and (region is None or region in self._chains[edge.source])
                if inside and edge.source not in found:
                    found.add(edge.source)
                    pending.append(edge.source)
        return sorted(found, key=lambda other: self._place[other])

    def _reached(
        self, node: str, above: list[str], region: Region, taken: dict[str, Label]
    ) -> bool:
        ran: set[str] = set()
        for other in [*above, node]:
            if any(
                self._enters(edge, region)
                or (
                    edge.source in ran
                    and (edge.label is None or edge.label == taken.get(edge.source))
                )
                for edge in self._into[other]
            ):
                ran.add(other)
        return node in ran
