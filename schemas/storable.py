"""What JSON may not hold anywhere: PostgreSQL and other JSON readers cannot keep it."""

import math
from typing import Any

MAX_JSON_DEPTH = 128


def find_unstorable(value: Any) -> str | None:
    """Say what in a JSON value cannot be stored, or None.

    NUL characters, lone surrogates, NaN, infinities, and nesting below 128 levels.
    """
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str | float):
                if fault := _scalar_fault(item):
                    return fault
            elif isinstance(item, dict):
                deeper.extend(item)
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
        if not deeper:
            return None
        level = deeper
    return f"it is nested deeper than {MAX_JSON_DEPTH} levels"


def _scalar_fault(item: str | float) -> str | None:
    if not isinstance(item, str):
        return None if math.isfinite(item) else "a number is not finite"
    if "\x00" in item:
        return "a text holds the NUL character"
    if not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item):
        return "a text holds half of a surrogate pair"
    return None
