"""What is tried with each expression, and what must be true of it."""

import heapq
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final

import re2

from schemas import cel, expressions
from schemas.cel import program as programs
from schemas.cel.budget import MAX_STEPS, Evaluation
from schemas.cel.functions_text import compiled_pattern
from schemas.cel.parser import parse
from schemas.cel.program import Program
from schemas.errors import ExpressionError
from tests.unit.cel import test_checker, test_conformance
from tests.unit.cel.bombs import RUN_TIME
from tests.unit.cel.bombs import VARIABLES as LARGE
from tests.unit.cel.generator import VARIABLES, Generator
from tests.unit.cel.hostile import HOSTILE

# How many findings are kept; a defect shows itself again and again.
_MOST_FINDINGS: Final = 20
_SLOWEST: Final = 10
_TRIES: Final = 5
# One expression in so many is compiled anew before it is evaluated again, and is put in a text.
_ANEW, _IN_TEXT = 8, 8


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


KNOWN: Final[dict[str, Any]] = {
    **LARGE,
    **test_conformance.VARIABLES,
    **VARIABLES,
    # Deeper than any operation walks, yet not as deep as to stop Python's own `repr`.
    "deep": _nested(100),
    "deep_twin": _nested(100),
    "input": {"name": "Ada", "tags": ["a"], "n": 5, "budget": 2500, "rate": 1.5, "none": None},
    "run": {"now": datetime(2026, 3, 29, 0, 30, tzinfo=UTC)},
    "now": datetime(2026, 1, 1, tzinfo=UTC),
    "infinite": float("inf"),
}
_UNKNOWN_TYPES: Final = dict.fromkeys(KNOWN, cel.DYN)
_TYPES: Final = {**_UNKNOWN_TYPES, **test_checker.VARIABLES}


def _cut(value: Any, most: int | None) -> Any:
    if isinstance(value, list | str):
        return value[:most]
    return dict(islice(value.items(), most)) if isinstance(value, dict) else value


class _Watched(Evaluation):
    """An evaluation that can be asked for its steps when it has ended in an error."""

    __slots__ = ()
    last: ClassVar[Evaluation]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        _Watched.last = self


def corpus(seed: int, generated: int = 1_500) -> list[str]:
    """Give the texts that a search begins with."""
    generator = Generator(seed)
    found = [generator.expression(1 + number % 3) for number in range(generated)]
    tables = (test_conformance.VALUES, test_conformance.ERRORS, test_conformance.SYNTAX)
    found += [case[0] for table in tables for case in table]
    found += [case[0] for case in (*test_checker.GOOD, *test_checker.BAD)]
    found += [*HOSTILE, *RUN_TIME.values()]
    return [source for source in dict.fromkeys(found) if len(source) < 200]


def encoded(source: str) -> bytes:
    """Give a text as bytes; lone surrogates stay."""
    return source.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """Read any bytes as a text; what is not UTF-8 becomes lone surrogates."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


def outcome(program: Program, variables: Mapping[str, Any]) -> tuple[str, int]:
    """Evaluate; gives the value with its type or the error as text, and the steps taken."""
    try:
        value, steps = program.evaluate_counted(variables)
    except ExpressionError as error:
        told = f"{type(error).__name__} {error.message} {error.offset} {error.hint}"
        return told, MAX_STEPS - _Watched.last.steps
    return f"{type(value).__name__} {value!r}", steps


def worst(sources: Iterable[str]) -> tuple[float, str]:
    """Give the slowest of some expressions over the large variables, in seconds of CPU.

    Each counts with its fastest try, as a busy machine slows the others.
    """
    found = (0.0, "")
    for source in sources:
        program = Program(source, parse(source))
        best = 1e9
        for _ in range(_TRIES):
            compiled_pattern.cache_clear()
            re2.purge()
            began = time.thread_time()
            with suppress(ExpressionError):  # the most expensive ones end so
                program.evaluate(KNOWN)
            best = min(best, time.thread_time() - began)
        found = max(found, (best, source))
    return found


class Target:
    """Tries expressions, counts, and keeps what must not be.

    `findings` are exceptions other than ExpressionError; `differing` are expressions whose second
    evaluation had another result or took other steps; `slowest` are CPU seconds with the text.
    """

    def __init__(self, most: int | None = None) -> None:
        """Begin; watches every evaluation of this process from now on.

        With `most` no variable has more entries or characters: large ones cost the most time.
        """
        programs.Evaluation = _Watched
        self.variables = {name: _cut(value, most) for name, value in KNOWN.items()}
        self.execs = self.errors = self.spent = self.refused = 0
        self.findings: dict[str, dict[str, str]] = {}
        self.differing: dict[str, list[Any]] = {}
        self.slowest: list[tuple[float, str]] = []
        self.signature: tuple[str, int] = ("", 0)

    def try_text(self, source: str) -> None:
        """Check, compile and evaluate one text, twice."""
        self.execs += 1
        try:
            self._try(source)
        except Exception as error:
            # Whatever it is, it is what is looked for.
            self._keep(source, error)

    def _try(self, source: str) -> None:
        types = _TYPES if len(source) & 1 else _UNKNOWN_TYPES
        _, problems = cel.check(source, types)
        assert all(0 <= one.offset <= len(source) for one in problems), "a problem outside"
        program = self._compiled(source, bool(problems))
        if program is None:
            return
        began = time.thread_time()
        first = outcome(program, self.variables)
        self._clock(time.thread_time() - began, source)
        if self.execs % _ANEW == 0:
            program = Program(source, parse(source))
        second = outcome(program, self.variables)
        if first != second and len(self.differing) < _MOST_FINDINGS:
            self.differing[source] = [first[0][:200], first[1], second[0][:200], second[1]]
        kind = first[0].partition(" ")[0]
        self.errors += kind in ("ExpressionError", "BudgetExceeded", "MissingValue")
        self.spent += kind == "BudgetExceeded"
        self.signature = (first[0][:24], first[1].bit_length())
        if self.execs % _IN_TEXT == 0:
            self._in_text(source)

    def _compiled(self, source: str, problems: bool) -> Program | None:
        """Compile; gives None for what is refused, which must have had problems before."""
        try:
            return Program(source, parse(source))
        except ExpressionError as error:
            refusal = error
        within = refusal.offset is None or 0 <= refusal.offset <= len(source)
        assert within, f"refused at {refusal.offset}"
        assert problems, "the check found no problem"
        self.refused += 1
        self.signature = (refusal.message[:24], 0)
        return None

    def _in_text(self, source: str) -> None:
        """Use it where definitions do: alone, and within a text."""
        for text in (f"{{{{ {source} }}}}", f"a {{{{ {source} }}}} b"):
            with suppress(ExpressionError):
                expressions.render(text, self.variables)

    def _clock(self, seconds: float, source: str) -> None:
        if len(self.slowest) < _SLOWEST:
            heapq.heappush(self.slowest, (seconds, source))
        elif seconds > self.slowest[0][0]:
            heapq.heapreplace(self.slowest, (seconds, source))

    def _keep(self, source: str, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
        if place not in self.findings and len(self.findings) < _MOST_FINDINGS:
            told = "".join(traceback.format_exception(error, limit=-4))
            self.findings[place] = {"source": source, "traceback": told}
