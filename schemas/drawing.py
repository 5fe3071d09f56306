"""A definition's graph as SVG: layers by the longest path, long links routed between the nodes.

The layered method of Sugiyama, Tagawa and Toda (1981): layers, dummy nodes on long links, one
order within each layer by the text and by barycentres, then places without overlaps.
"""

from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from schemas.diagram import Diagram, Link, Node

_NODE_WIDTH, _NODE_HEIGHT, _DUMMY_WIDTH = 200.0, 44.0, 24.0
_GAP, _LAYER_GAP, _MARGIN = 24.0, 52.0, 24.0
_SWEEPS = 6
_TEXT = 30
_FILLS = {
    "terminal": "#e5e7eb",
    "action": "#dbeafe",
    "choice": "#fef3c7",
    "wait": "#dcfce7",
    "loop": "#ede9fe",
    "fork": "#fce7f3",
}


@dataclass
class _Place:
    """A node, or a dummy on a link's way, in its layer; `x` is its middle."""

    name: str
    width: float
    layer: int
    node: Node | None = None
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    x: float = 0.0


def svg(found: Diagram) -> str:
    """Draw a graph; the same graph always gives the same text."""
    places, routes = _layered(found)
    layers = _rows(places)
    _arrange(places, layers)
    left = min(place.x - place.width / 2 for place in places.values())
    right = max(place.x + place.width / 2 for place in places.values())
    for place in places.values():
        place.x += _MARGIN - left
    width = right - left + 2 * _MARGIN
    height = len(layers) * _NODE_HEIGHT + (len(layers) - 1) * _LAYER_GAP + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" font-family="sans-serif">',
        f"<title>{escape(found.name)}</title>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="#475569"/>'
        "</marker></defs>",
        *(_link(link, [places[name] for name in route]) for link, route in routes),
        *(_box(place, place.node) for place in places.values() if place.node is not None),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _layered(found: Diagram) -> tuple[dict[str, _Place], list[tuple[Link, list[str]]]]:
    """Give every node its layer, and every long link its dummies."""
    depth = _depths(found)
    places = {node.id: _Place(node.id, _NODE_WIDTH, depth[node.id], node) for node in found.nodes}
    routes: list[tuple[Link, list[str]]] = []
    for number, link in enumerate(found.links):
        # A loop's way back is laid out as the way there.
        top, bottom = (link.target, link.source) if link.back else (link.source, link.target)
        route = [top]
        for layer in range(depth[top] + 1, depth[bottom]):
            dummy = _Place(f"{number}/{layer}", _DUMMY_WIDTH, layer)
            places[dummy.name] = dummy
            route.append(dummy.name)
        route.append(bottom)
        for upper, lower in pairwise(route):
            places[upper].below.append(lower)
            places[lower].above.append(upper)
        routes.append((link, route[::-1] if link.back else route))
    return places, routes


def _depths(found: Diagram) -> dict[str, int]:
    """Give each node the length of the longest way to it; links go from earlier nodes to later."""
    depth = {node.id: 0 for node in found.nodes}
    forward: dict[str, list[str]] = {}
    for link in found.links:
        if not link.back:
            forward.setdefault(link.source, []).append(link.target)
    for _ in found.nodes:
        moved = False
        for node in found.nodes:
            for target in forward.get(node.id, []):
                if depth[target] <= depth[node.id]:
                    depth[target] = depth[node.id] + 1
                    moved = True
        if not moved:
            break
    return depth


def _rows(places: dict[str, _Place]) -> list[list[_Place]]:
    layers: list[list[_Place]] = [[] for _ in range(max(p.layer for p in places.values()) + 1)]
    for place in places.values():
        layers[place.layer].append(place)
    return layers


def _arrange(places: dict[str, _Place], layers: list[list[_Place]]) -> None:
    """Put each place near the middle of its neighbours, in sweeps down and up."""
    for layer in layers:
        _spread(layer, [index * (_NODE_WIDTH + _GAP) for index in range(len(layer))])
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = [_middle(place, places, down=down) for place in layer]
            if sweep < _SWEEPS - 2:
                order = sorted(range(len(layer)), key=lambda index: (wanted[index], index))
                layer[:] = [layer[index] for index in order]
                wanted = [wanted[index] for index in order]
            _spread(layer, wanted)


def _middle(place: _Place, places: dict[str, _Place], *, down: bool) -> float:
    near = (place.above or place.below) if down else (place.below or place.above)
    return sum(places[name].x for name in near) / len(near) if near else place.x


def _spread(layer: list[_Place], wanted: list[float]) -> None:
    """Place a layer where it wants to be as far as nothing overlaps, from both sides."""
    lefts: list[float] = []
    for place, x in zip(layer, wanted, strict=True):
        free = lefts[-1] if lefts else float("-inf")
        start = max(x - place.width / 2, free)
        lefts.append(start + place.width + _GAP)
    rights: list[float] = []
    for place, x in zip(reversed(layer), reversed(wanted), strict=True):
        free = rights[-1] if rights else float("inf")
        stop = min(x + place.width / 2, free)
        rights.append(stop - place.width - _GAP)
    for place, after, before in zip(layer, lefts, reversed(rights), strict=True):
        # The mean of two arrangements without overlaps has none either.
        from_left = after - _GAP - place.width / 2
        from_right = before + _GAP + place.width / 2
        place.x = (from_left + from_right) / 2


def _top(place: _Place) -> float:
    return _MARGIN + place.layer * (_NODE_HEIGHT + _LAYER_GAP)


def _link(link: Link, route: list[_Place]) -> str:
    up = link.back
    points = [
        (route[0].x, _top(route[0]) + (0 if up else _NODE_HEIGHT)),
        *((place.x, _top(place) + _NODE_HEIGHT / 2) for place in route[1:-1]),
        (route[-1].x, _top(route[-1]) + (_NODE_HEIGHT if up else 0)),
    ]
    if up:
        # Beside the way there.
        points = [(x + 14, y) for x, y in points]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        bend = (y2 - y1) / 2
        path += f"C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    dashes = ' stroke-dasharray="4 4"' if link.dotted else ""
    line = f'<path d="{path}" fill="none" stroke="#475569"{dashes} marker-end="url(#arrow)"/>'
    if not link.label:
        return line
    (x1, y1), (x2, y2) = points[0], points[1]
    x, y = (x1 + 2 * x2) / 3, (y1 + 2 * y2) / 3
    return line + (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="10" text-anchor="middle" fill="#334155" '
        f'stroke="#fff" stroke-width="3" paint-order="stroke">{_cut(link.label)}</text>'
    )


def _box(place: _Place, node: Node) -> str:
    x, y = place.x - place.width / 2, _top(place)
    radius = {"terminal": 22, "wait": 14, "action": 4}.get(node.shape, 0)
    fill = _FILLS[node.shape]
    outline = f'fill="{fill}" stroke="#475569"'
    w, h = place.width, _NODE_HEIGHT
    if node.shape in ("choice", "loop"):
        corners = [(x, y + h / 2), (x + 12, y), (x + w - 12, y), (x + w, y + h / 2)]
        corners += [(x + w - 12, y + h), (x + 12, y + h)]
        points = " ".join(f"{left:.1f},{top:.1f}" for left, top in corners)
        shape = f'<polygon points="{points}" {outline}/>'
    else:
        shape = (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.0f}" height="{h:.0f}" rx="{radius}" '
            f"{outline}/>"
        )
    two = bool(node.detail) and node.detail != node.title
    first = y + (19 if two else 26)
    text = (
        f'<text x="{place.x:.1f}" y="{first:.1f}" font-size="12" text-anchor="middle" '
        f'fill="#0f172a">{_cut(node.title)}</text>'
    )
    if two:
        text += (
            f'<text x="{place.x:.1f}" y="{y + 34:.1f}" font-size="10" text-anchor="middle" '
            f'fill="#475569">{_cut(node.detail, _TEXT + 2)}</text>'
        )
    hover = escape(f"{node.id}: {node.detail or node.title}")
    return f"<g><title>{hover}</title>{shape}{text}</g>"


def _cut(text: str, length: int = _TEXT) -> str:
    return escape(text if len(text) <= length else f"{text[: length - 1]}…")
