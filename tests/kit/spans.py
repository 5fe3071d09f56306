"""Spans of time that overlap."""

from collections.abc import Iterable
from typing import Any


def most_at_once(spans: Iterable[tuple[Any, Any]]) -> int:
    """Count the spans, (begin, end) each, that overlap at the worst moment; an end frees first."""
    changes = [change for begin, end in spans for change in ((begin, 1), (end, -1))]
    at_once, peak = 0, 0
    for _, change in sorted(changes):
        at_once += change
        peak = max(peak, at_once)
    return peak
