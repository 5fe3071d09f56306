"""Stored mail templates: Liquid, rendered as if the author and the data were hostile.

Limits bound loops, output, variables and every value a filter makes; templates can include
nothing. Values are HTML-escaped in HTML parts only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from typing import Any

from liquid import BoundTemplate, Environment
from liquid.context import RenderContext
from liquid.exceptions import (
    FilterError,
    LiquidError,
    LoopIterationLimitError,
    ResourceLimitError,
    UndefinedError,
)
from liquid.undefined import FalsyStrictUndefined

from activities.errors import ActionError
from schemas.errors import ErrorCode, Position, Problem

MAX_SOURCE = 256 * 1024  # characters of one part
MAX_OUTPUT = 512 * 1024  # bytes of one rendered part
MAX_LOOPS = 5_000  # iterations of all loops together
MAX_TEXT = 128 * 1024  # characters of one value made by a filter
MAX_ITEMS = 10_000  # of a list that a filter reads or makes
MAX_NUMBER = 10**18
_NOT_LIQUID = ("include", "render")  # nothing to include from
_UNSAFE_FILTERS = ("safe",)  # would switch the escaping off


class _Undefined(FalsyStrictUndefined):
    """Missing values are false in `if` and replaced by `default`; printing one is an error."""

    force_liquid_default = True


class _Context(RenderContext):
    """Counts the iterations of all loops: the library's limit holds for each nest alone."""

    __slots__ = ("iterations",)

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Charge a loop that is about to start."""
        self.iterations = getattr(self, "iterations", 0) + length
        if self.iterations > MAX_LOOPS:
            raise LoopIterationLimitError(f"more than {MAX_LOOPS:,} loop iterations", token=None)


class _Template(BoundTemplate):
    context_class = _Context


class _Environment(Environment):
    context_depth_limit = 20
    loop_iteration_limit = MAX_LOOPS
    local_namespace_limit = 256 * 1024
    output_stream_limit = MAX_OUTPUT
    template_class = _Template

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for name in _NOT_LIQUID:
            self.tags.pop(name, None)
        for name in _UNSAFE_FILTERS:
            self.filters.pop(name, None)
        self.filters = {name: _bounded(name, f) for name, f in self.filters.items()}


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a filter's call where its arguments or its result are out of proportion."""

    # wraps also copies the marks by which the library passes the environment.
    @wraps(function)
    def bounded(value: Any, *arguments: Any, **options: Any) -> Any:
        for argument in (value, *arguments):
            _check_size(name, argument)
        _check_growth(name, value, arguments)
        result = function(value, *arguments, **options)
        _check_size(name, result)
        return result

    return bounded


def _check_size(name: str, value: Any) -> None:
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise FilterError(f"{name}: a text above {MAX_TEXT:,} characters", token=None)
    elif isinstance(value, list | tuple | range):
        # A range may be too long for len().
        long = value.stop - value.start > MAX_ITEMS if isinstance(value, range) else None
        if long or (long is None and len(value) > MAX_ITEMS):
            raise FilterError(f"{name}: a list above {MAX_ITEMS:,} items", token=None)
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise FilterError(f"{name}: a number above {MAX_NUMBER}", token=None)


def _check_growth(name: str, value: Any, arguments: tuple[Any, ...]) -> None:
    """Foresee the filters whose result is a product of their inputs, before it is built."""
    if name == "replace" and len(arguments) == 2:
        text, old, new = str(value), str(arguments[0]), str(arguments[1])
        if text.count(old) * len(new) + len(text) > MAX_TEXT:
            raise FilterError(f"replace: a text above {MAX_TEXT:,} characters", token=None)
    elif name == "join" and arguments and isinstance(value, list | tuple | range | str):
        if len(value) * len(str(arguments[0])) > MAX_TEXT:
            raise FilterError(f"join: a text above {MAX_TEXT:,} characters", token=None)
    elif name == "round" and arguments and abs(_integer(arguments[0])) > 15:
        raise FilterError("round: at most 15 digits", token=None)
    elif name == "date" and arguments and len(str(arguments[0])) > 100:
        raise FilterError("date: a format above 100 characters", token=None)


def _integer(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise FilterError(f"{value!r} is not a whole number", token=None) from error


@cache
def _environment(html: bool) -> Environment:
    return _Environment(undefined=_Undefined, strict_filters=True, autoescape=html)


@lru_cache(maxsize=256)
def _parse(source: str, html: bool) -> BoundTemplate:
    if len(source) > MAX_SOURCE:
        raise ResourceLimitError(f"a template above {MAX_SOURCE:,} characters", token=None)
    return _environment(html).from_string(source)


def render(source: str, data: Mapping[str, Any], *, html: bool, part: str = "template") -> str:
    """Render one part over JSON-like data; `html` escapes every value.

    Raises ActionError EXPRESSION_ERROR with the variable's name, the part, line and column.
    """
    try:
        return _parse(source, html).render(**{str(key): value for key, value in data.items()})
    except (LiquidError, RecursionError, ArithmeticError, TypeError, ValueError) as error:
        problem = _problem(error, part)
        place = f" (line {problem.position.line})" if problem.position else ""
        raise ActionError(
            f"{part}{place}: {problem.message}",
            code=ErrorCode.EXPRESSION_ERROR,
            retryable=False,
            hint=problem.hint,
            problems=[problem],
        ) from error


def check_template(source: str, *, html: bool = False, path: str = "template") -> list[Problem]:
    """Give what is wrong with one part before any mail uses it: syntax, tags, filters, size."""
    try:
        template = _parse(source, html)
        known = _environment(html).filters
        unknown = sorted(set(template.analyze().filters) - set(known))
    except (LiquidError, RecursionError) as error:
        return [_problem(error, path)]
    return [
        Problem(
            code=ErrorCode.DEFINITION_INVALID,
            path=path,
            message=f"unknown filter '{name}'",
            hint="filters are those of Liquid: upcase, default, date, escape, …",
        )
        for name in unknown
    ]


def template_variables(source: str) -> list[str]:
    """Give the names of the data that a part reads, sorted; raises LiquidError on bad syntax."""
    return sorted(_parse(source, False).analyze().globals)


@dataclass(frozen=True, slots=True)
class RenderedTemplate:
    """The parts of a mail; a part the template lacks is None."""

    subject: str | None
    text: str | None
    html: str | None


def render_preview(
    *,
    subject: str | None,
    text: str | None,
    html: str | None,
    data: Mapping[str, Any],
    override: str | None = None,
) -> RenderedTemplate:
    """Render every part of a stored template, as the `email` action does; raises ActionError.

    `override` is a subject that replaces the template's and is no template itself.
    """

    def part(name: str, source: str | None) -> str | None:
        if source is None:
            return None
        return render(source, data, html=name == "html", part=name)

    title = override if override is not None else part("subject", subject)
    return RenderedTemplate(
        subject=None if title is None else " ".join(title.split()),
        text=part("text", text),
        html=part("html", html),
    )


def _problem(error: Exception, path: str) -> Problem:
    position: Position | None = None
    if isinstance(error, LiquidError):
        message = str(error.message or type(error).__name__)
        found = error.context() if error.token is not None else None
        if found is not None:
            position = Position(line=found[0], column=found[1] + 1)
    else:
        message = f"a value does not fit: {error}"
    hint: str | None = None
    if isinstance(error, UndefinedError):
        hint = "put it into 'data' of the step, or give it a default: {{ name | default: '' }}"
    elif isinstance(error, ResourceLimitError):
        hint = "templates are bounded; make this one smaller"
    return Problem(
        code=ErrorCode.EXPRESSION_ERROR, path=path, position=position, message=message, hint=hint
    )
