"""Functions over strings, and `size`."""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from math import isinf, isnan
from typing import Any, Final

import re2

from schemas.cel.budget import (
    BudgetExceeded,
    Evaluation,
    built,
    check_entries,
    check_length,
)
from schemas.cel.functions_time import duration_text, timestamp_text
from schemas.cel.registry import Function
from schemas.cel.values import int64, kind_of, uint64
from schemas.errors import ExpressionError

MAX_PATTERN = 256  # characters
_PATTERN_MEMORY: Final = 1 << 18  # bytes that one compiled pattern may take
_REPETITION: Final = re.compile(r"\{(?:[0-9]*,)?([0-9]+)")
_FOLDED: Final = re.compile(r"\(\?[a-zA-Z]*i")  # both cases of each letter
_MOST_REPETITIONS: Final = 1_000  # RE2 refuses more, nested ones multiplied
_CLASS: Final = 900  # steps for one Unicode class, once and for each repetition
_WIDE: Final = re.compile(r"\.|\[\^|\\[DSWx]|[^\x00-\x7f]")  # what stands for many characters
_MOST_WORK: Final = 10_000  # beyond that the pattern's memory ends the compilation
_COMPILED: Final = 16  # steps for a pattern that the evaluation has compiled before
_SEARCHED: Final = 32_768


@lru_cache(maxsize=64)
def compiled_pattern(pattern: str) -> Any:
    """Compile a pattern in RE2's syntax; raises ExpressionError for a wrong or too large one."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _PATTERN_MEMORY
    try:
        return re2.compile(pattern, options)
    except UnicodeEncodeError:
        raise ExpressionError("the pattern is not valid Unicode") from None
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ExpressionError(f"invalid pattern: {shown[:200]}") from None


def pattern_cost(pattern: str) -> int:
    """Return the steps to compile a pattern: Unicode classes and repetitions weigh the most."""
    if len(pattern) > MAX_PATTERN:
        raise BudgetExceeded(f"the pattern is longer than {MAX_PATTERN} characters")
    repetitions = 1
    for most in _REPETITION.findall(pattern):
        repetitions = min(repetitions * max(int(most), 1), _MOST_REPETITIONS)
    classes = pattern.lower().count("\\p")
    lengths = 16 + (len(pattern) + 240 * classes) * (2 + (repetitions >> 2))
    wide = len(_WIDE.findall(pattern))
    work = classes * _CLASS * (1 + repetitions) + wide * (32 + 3 * repetitions)
    if _FOLDED.search(pattern):
        work = max(work, 4 * lengths)
    return max(lengths, min(work, _MOST_WORK))


def _pattern(evaluation: Evaluation, pattern: str) -> Any:
    """Compile a pattern, once in an evaluation; what other evaluations have compiled is paid too.

    So the steps do not depend on what a cache still holds.
    """
    if evaluation.patterns is None:
        evaluation.patterns = {}
    compiled = evaluation.patterns.get(pattern)
    if compiled is not None:
        evaluation.charge(_COMPILED)
        return compiled
    evaluation.charge(pattern_cost(pattern))
    compiled = evaluation.patterns[pattern] = compiled_pattern(pattern)
    return compiled


def _matches(evaluation: Evaluation, text: str, pattern: str) -> bool:
    """Search with RE2, whose worst case is the text's length by the compiled pattern's size."""
    compiled = _pattern(evaluation, pattern)
    length = len(text) if text.isascii() else len(text) * 2
    evaluation.charge(length * compiled.programsize >> 7)
    try:
        return compiled.search(text) is not None
    except UnicodeEncodeError:
        raise ExpressionError("the string is not valid Unicode") from None


def _searching(evaluation: Evaluation, text: str, part: str) -> None:
    """Charge for a search, whose worst case is quadratic below some ten thousand characters."""
    worst = min(len(text), _SEARCHED) * min(len(part), _SEARCHED)
    evaluation.charge((len(text) + len(part) >> 6) + (worst >> 11))


def _contains(evaluation: Evaluation, text: str, part: str) -> bool:
    _searching(evaluation, text, part)
    return part in text


def _starts_with(evaluation: Evaluation, text: str, part: str) -> bool:
    evaluation.charge(len(part) >> 8)
    return text.startswith(part)


def _ends_with(evaluation: Evaluation, text: str, part: str) -> bool:
    evaluation.charge(len(part) >> 8)
    return text.endswith(part)


def _upper(evaluation: Evaluation, text: str) -> str:
    check_length(len(text))
    evaluation.charge(len(text) >> 4)
    return built(evaluation, text.upper())


def _lower(evaluation: Evaluation, text: str) -> str:
    check_length(len(text))
    evaluation.charge(len(text) >> 4)
    return built(evaluation, text.lower())


def _trim(evaluation: Evaluation, text: str) -> str:
    check_length(len(text))
    evaluation.charge(len(text) >> 6)
    return built(evaluation, text.strip())


def _split(evaluation: Evaluation, text: str, separator: str) -> list[str]:
    check_length(len(text))
    _searching(evaluation, text, separator)
    pieces = text.count(separator) + 1 if separator else len(text)
    check_entries(pieces)
    evaluation.charge(pieces)
    return text.split(separator) if separator else list(text)


def _replace(evaluation: Evaluation, text: str, old: str, new: str) -> str:
    check_length(len(text))
    _searching(evaluation, text, old)
    found = text.count(old)
    check_length(len(text) + found * (len(new) - len(old)))
    evaluation.charge(found >> 2)
    return built(evaluation, text.replace(old, new))


def _join(evaluation: Evaluation, items: Sequence[Any], separator: str = "") -> str:
    length = len(separator) * max(len(items) - 1, 0)
    for item in items:
        evaluation.charge(1)
        kind = kind_of(item)
        if kind != "string":
            raise ExpressionError(
                f"join() needs a list of strings, found a {kind}",
                hint="convert first: list.map(x, string(x)).join(', ')",
            )
        length += len(item)
        check_length(length)
    return built(evaluation, separator.join(items))


def double_text(value: float) -> str:
    """Write a double with the fewest digits that read back, `1e+06` from a million on."""
    if isnan(value):
        return "nan"
    if isinf(value):
        return "inf" if value > 0 else "-inf"
    number = Decimal(repr(value)).normalize()
    exponent = number.adjusted()
    if not number or -4 <= exponent < 6:
        return format(number, "f")
    sign, digits, _ = number.as_tuple()
    fraction = "".join(map(str, digits[1:]))
    mantissa = f"{'-' if sign else ''}{digits[0]}{'.' if fraction else ''}{fraction}"
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _bytes_text(evaluation: Evaluation, value: bytes) -> str:
    check_length(len(value))
    try:
        return built(evaluation, value.decode())
    except UnicodeDecodeError:
        raise ExpressionError("the bytes are not valid UTF-8") from None


_ONE, _TWO = ("string",), ("string", "string")


def _test(run: Any) -> dict[tuple[str, ...], tuple[Any, str]]:
    return {_TWO: (run, "bool")}


TEXT_FUNCTIONS: Final = (
    Function(
        "size",
        {
            (kind,): (lambda _, value: len(value), "int")
            for kind in ("string", "bytes", "list", "map")
        },
        method=True,
        free=True,
    ),
    Function("contains", _test(_contains), method=True, free=True),
    Function("startsWith", _test(_starts_with), method=True, free=True),
    Function("endsWith", _test(_ends_with), method=True, free=True),
    Function("matches", _test(_matches), method=True, free=True),
    Function("upper", {_ONE: (_upper, "string")}, method=True),
    Function("lower", {_ONE: (_lower, "string")}, method=True),
    Function("trim", {_ONE: (_trim, "string")}, method=True),
    Function("split", {_TWO: (_split, "list<string>")}, method=True),
    Function("replace", {("string",) * 3: (_replace, "string")}, method=True),
    Function(
        "join",
        {("list",): (_join, "string"), ("list", "string"): (_join, "string")},
        method=True,
    ),
    Function(
        "string",
        {
            _ONE: (lambda _, value: value, "string"),
            ("int",): (lambda _, value: str(int64(value)), "string"),
            ("uint",): (lambda _, value: str(int(uint64(value))), "string"),
            ("double",): (lambda _, value: double_text(value), "string"),
            ("bool",): (lambda _, value: "true" if value else "false", "string"),
            ("bytes",): (_bytes_text, "string"),
            ("timestamp",): (lambda _, value: timestamp_text(value), "string"),
            ("duration",): (lambda _, value: duration_text(value), "string"),
        },
        free=True,
    ),
)
