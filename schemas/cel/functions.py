"""All functions of the language by name, and what is wrong with a call of one."""

from collections.abc import Mapping
from typing import Final

from schemas.cel.functions_json import JSON_FUNCTIONS
from schemas.cel.functions_number import NUMBER_FUNCTIONS
from schemas.cel.functions_text import TEXT_FUNCTIONS
from schemas.cel.functions_time import TIME_FUNCTIONS
from schemas.cel.problems import nearest
from schemas.cel.registry import Function

FUNCTIONS: Final[Mapping[str, Function]] = {
    function.name: function
    for function in (
        *NUMBER_FUNCTIONS,
        *TEXT_FUNCTIONS,
        *TIME_FUNCTIONS,
        *JSON_FUNCTIONS,
    )
}

MACROS: Final = ("all", "default", "exists", "exists_one", "filter", "has", "map")

_MACRO_USE: Final = {
    "has": "write has(input.email)",
    "default": "write default(input.name, 'friend')",
    "map": "write list.map(x, value) or list.map(x, condition, value)",
    **{name: f"write list.{name}(x, condition)" for name in ("all", "exists", "exists_one")},
    "filter": "write list.filter(x, condition)",
}


def unknown_function(name: str) -> tuple[str, str | None]:
    """Return message and hint for a name that is no function, or a macro used wrongly."""
    if name in _MACRO_USE:
        return f"{name}() is used wrongly", _MACRO_USE[name]
    return f"unknown function `{name[:80]}`", nearest(name, sorted((*FUNCTIONS, *MACROS)))


def call_problem(
    function: Function, arguments: int, *, method: bool
) -> tuple[str, str | None] | None:
    """Return message and hint if the call's style or number of arguments is wrong, else None."""
    name = function.name
    if method and not function.method:
        return f"{name}() is not a method", f"write {name}(value)"
    if not method and not function.free:
        return f"{name}() is a method", f"write value.{name}()"
    arities = function.arities()
    if arguments in arities:
        return None
    shown = [arity - 1 for arity in arities] if method else arities
    wanted = str(shown[0]) if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"
    given = arguments - 1 if method else arguments
    return f"{name}() takes {wanted} argument(s), not {given}", None
