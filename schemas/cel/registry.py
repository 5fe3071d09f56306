"""What a function of the language is: a name, its call styles and its overloads by type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.cel.problems import no_overload
from schemas.cel.values import kind_of

Run = Callable[..., Any]  # takes the Evaluation, then the arguments
Overloads = Mapping[tuple[str, ...], tuple[Run, str]]


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    `overloads` maps the kinds of the arguments (a method's receiver is the first) to the
    function that does the work and the name of the result's type; `any` as every kind stands
    for all types. `method` allows `a.name(b)`, `free` allows `name(a, b)`.
    """

    name: str
    overloads: Overloads
    method: bool = False
    free: bool = False

    def arities(self) -> list[int]:
        """Return the possible numbers of arguments, ascending, the receiver counted."""
        return sorted({len(kinds) for kinds in self.overloads})

    def find(self, values: list[Any]) -> Run:
        """Return the overload for these arguments; raises ExpressionError if there is none."""
        kinds = tuple([kind_of(value) for value in values])
        found = self.overloads.get(kinds) or self.overloads.get(("any",) * len(kinds))
        if found is None:
            raise no_overload(f"{self.name}()", *kinds)
        return found[0]
