"""The errors of an expression, and the nearest right name for a wrong one."""

import difflib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from schemas.errors import ExpressionError


class MissingValue(ExpressionError):
    """A key, an item or a variable that is not there, or a field of null; `default` absorbs it."""

    def __init__(
        self,
        message: str,
        *,
        name: str | None = None,
        candidates: Mapping[Any, Any] | None = None,
        offset: int | None = None,
    ) -> None:
        """Keep `candidates` so that the nearest name is looked for only if the error gets out."""
        super().__init__(message, offset=offset)
        self._name = name
        self._candidates = candidates

    def suggest(self) -> None:
        """Set the hint to the nearest right name, and let go of the candidates."""
        if self.hint is None and self._name is not None and self._candidates is not None:
            self.hint = nearest(self._name, self._candidates)
        self._candidates = None


def nearest(name: str, candidates: Iterable[Any]) -> str | None:
    """Return `did you mean …?` for the candidate nearest to `name`, looking at 100 of them."""
    if len(name) > 64:
        return None
    near = [one for one in islice(candidates, 100) if isinstance(one, str) and len(one) <= 64]
    found = difflib.get_close_matches(name, near, n=1, cutoff=0.6)
    return f"did you mean `{found[0]}`?" if found else None


def quoted(name: str) -> str:
    """Show a key in a message, cut to 80 characters."""
    return f'"{name[:80]}"'


def missing_key(mapping: Mapping[Any, Any], key: Any) -> MissingValue:
    """Build the error for a key that a map does not have."""
    if isinstance(key, str):
        return MissingValue(f"no such key: {quoted(key)}", name=key, candidates=mapping)
    return MissingValue("no such key in the map")


def no_overload(name: str, *kinds: str) -> ExpressionError:
    """Build the error for an operator or function that does not take these types."""
    return ExpressionError(f"no such overload: {name} does not take ({', '.join(kinds)})")


def located(error: ExpressionError, offset: int) -> None:
    """Give an error that has no place yet the place of the node that raised it."""
    if error.offset is None:
        error.offset = offset
