"""Defects of the engine, put in on purpose: a search must notice each of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

_LEAK: Final = 2 << 20  # bytes an evaluation
_MOST_LEAKED: Final = 300  # evaluations, those of the first texts among them


def _raising(run: Any) -> Any:
    """A function that stumbles over some texts, as Python's own would."""

    def broken(evaluation: Any, text: str, *rest: Any) -> Any:
        if not text.isalpha():
            raise TypeError("a text with signs")
        return run(evaluation, text, *rest)

    return broken


def _uneven(run: Any) -> Any:
    """A function that pays less the second time, as a cache would make it."""
    seen: set[str] = set()

    def broken(evaluation: Any, text: str, *rest: Any) -> Any:
        evaluation.charge(0 if text in seen else 1)
        seen.add(text)
        return run(evaluation, text, *rest)

    return broken


def _leaking(run: Any) -> Any:
    """A function that keeps its evaluation, and more, for ever."""
    kept: list[tuple[Any, bytes]] = []

    def broken(evaluation: Any, *arguments: Any) -> Any:
        if len(kept) < _MOST_LEAKED and not (kept and kept[-1][0] is evaluation):
            kept.append((evaluation, b"x" * _LEAK))
        return run(evaluation, *arguments)

    return broken


WRONGS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "raise": ("upper", _raising),
    "steps": ("lower", _uneven),
    "leak": ("size", _leaking),
}


def inflict(name: str | None) -> None:
    """Break one function of the engine in this process; nothing without a name."""
    if name is None:
        return
    from schemas import cel

    function, breaking = WRONGS[name]
    sound = cel.FUNCTIONS[function]
    overloads = {kinds: (breaking(run), kind) for kinds, (run, kind) in sound.overloads.items()}
    cel.FUNCTIONS[function] = replace(sound, overloads=overloads)  # pyright: ignore[reportIndexIssue]
