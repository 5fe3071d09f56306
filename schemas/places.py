"""One expression at its place: names, types, and results that may not be there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas import cel
from schemas.cel import CheckProblem, ast
from schemas.cel.types import join
from schemas.definition import Definition, walk
from schemas.errors import ErrorCode, ExpressionError, Problem, Severity
from schemas.expressions import parse_template
from schemas.facts import parsed, reads, step_places
from schemas.markers import secret_named
from schemas.result_types import plain_type, schema_type
from schemas.rules import Rule
from schemas.scopes import LEAD, RUN, Scope, explain
from schemas.steps import ForEach, Repeat

_MISPLACED = "'secrets' can be read only in the 'with' of an action, and only by itself"
_ALONE = "write '{{ secrets.NAME }}' there, alone or inside text; no operator or function sees it"


@dataclass(frozen=True)
class Place:
    """Where an expression stands: the path of its text, and the characters before it there."""

    path: str
    offset: int = 0


class Checks:
    """Checks expressions of one definition and collects what it finds."""

    def __init__(self, definition: Definition, variables: Mapping[str, cel.Type]) -> None:
        """Check against the definition's input; `variables` are the types of `vars`."""
        self.input = schema_type(definition.input)
        self.vars = cel.object_type(variables)
        self.found: list[Problem] = []
        self._known = [step.id for _, step in definition.walk()]
        self._loops = {
            inner.id: step.id
            for _, step in definition.walk()
            if isinstance(step, ForEach | Repeat)
            for _, inner in walk(step.do)
        }

    def verdict(self, source: str | None, path: str, scope: Scope) -> None:
        """Check an expression that must give a bool, if there is one."""
        if source is not None:
            self.expression(source, Place(path), scope, cel.BOOL)

    def text(self, value: str | None, path: str, scope: Scope) -> None:
        """Check a value that must give a text, if there is one."""
        found = self.value(value, path, scope) if value is not None else cel.DYN
        if found not in (cel.STRING, cel.DYN):
            self._clash(path, f"gives {found}, but a text is needed")

    def items(self, value: Any, path: str, scope: Scope) -> cel.Type:
        """Check a value that must give a list; returns the type of its items."""
        found = self.value(value, path, scope)
        if found.kind not in ("list", "dyn"):
            self._clash(path, f"gives {found}, but a list is needed")
        return (found.element if found.kind == "list" else None) or cel.DYN

    def value(self, value: Any, path: str, scope: Scope) -> cel.Type:
        """Check all `{{ CEL }}` inside a value; returns the type of what it renders to."""
        if isinstance(value, str):
            return self._template(value, path, scope) if "{{" in value else cel.STRING
        if isinstance(value, Mapping):
            fields = {
                str(key): self.value(one, f"{path}.{key}" if path else str(key), scope)
                for key, one in value.items()
            }
            return cel.object_type(fields)
        if isinstance(value, list):
            items = [self.value(one, f"{path}[{at}]", scope) for at, one in enumerate(value)]
            return cel.list_of(join(items))
        literal = {type(None): cel.NULL, bool: cel.BOOL, int: cel.INT, float: cel.DOUBLE}
        return literal.get(type(value), cel.DYN)

    def _template(self, text: str, path: str, scope: Scope) -> cel.Type:
        try:
            template = parse_template(text)
        except ExpressionError as error:
            problem = CheckProblem(error.message, error.offset or 0, error.hint, Rule.SYNTAX)
            self._report(Place(path), problem)
            return cel.STRING
        types = [
            cel.STRING
            if scope.secrets and "secrets" not in scope.names and secret_named(source)
            else self.expression(source, Place(path, offset), scope)
            for offset, source in template.sources
        ]
        return plain_type(types[0]) if template.single is not None else cel.STRING

    def expression(
        self, source: str, place: Place, scope: Scope, wanted: cel.Type | None = None
    ) -> cel.Type:
        """Check one expression; returns its type."""
        variables: dict[str, cel.Type] = {
            "input": self.input,
            "vars": self.vars,
            "run": RUN,
            "lead": LEAD,
            "steps": scope.steps,
            **scope.names,
        }
        variables = {name: one for name, one in variables.items() if name not in scope.hidden}
        found, every = cel.check(source, variables)
        # The same thing is said once for each expression, at its first place.
        problems = list({problem.message: problem for problem in reversed(every)}.values())
        tree = parsed(source)
        if tree is not None:
            places = step_places(tree) if "steps" not in scope.names else {}
            for problem in problems:
                name = places.get(problem.offset)
                if problem.rule == Rule.UNKNOWN_NAME:
                    problem = _unnamed(problem, source, scope)
                elif name is not None and name not in scope.results:
                    problem = self._no_step(name, problem)
                self._report(place, problem)
            for problem, severity in self._doubtful(tree, scope):
                self._report(place, problem, severity)
        else:
            for problem in problems:
                self._report(place, problem)
        if wanted is not None and not problems and found not in (wanted, cel.DYN):
            message = f"gives {found}, but {wanted} is needed"
            self._report(place, CheckProblem(message, 0))
        return found

    def _no_step(self, name: str, problem: CheckProblem) -> CheckProblem:
        """A step that exists but cannot be read here deserves a better word than "unknown"."""
        if name not in self._known:
            message = f"there is no step {name!r}"
            return CheckProblem(message, problem.offset, problem.hint, Rule.UNKNOWN_STEP)
        loop = self._loops.get(name)
        message = f"the step {name!r} cannot have run before this one"
        hint = f"add {name!r} to depends_on"
        if loop is not None:
            message = f"the step {name!r} runs inside the loop {loop!r}, and is read only there"
            hint = f"read steps.{loop}.output"
        return CheckProblem(message, problem.offset, hint, Rule.NOT_YET_RUN)

    def _doubtful(self, tree: ast.Node, scope: Scope) -> list[tuple[CheckProblem, Severity]]:
        """Find what is read from inside an output, or an error, that may be null."""
        found: dict[tuple[str, ...], tuple[CheckProblem, Severity]] = {}
        for read in reads(tree):
            chain = read.chain
            if chain in found:
                continue
            if len(chain) == 1 and chain[0] in scope.nullable:
                if ("value", *chain) not in read.facts | scope.known:
                    message = f"{chain[0]!r} is null when the run was cancelled"
                    hint = f"test {chain[0]} != null first, or use default(…)"
                    problem = CheckProblem(message, read.offset, hint, Rule.MAYBE_NULL)
                    found[chain] = problem, Severity.WARNING
                continue
            name = chain[1] if len(chain) == 3 and chain[::2] == ("steps", "output") else ""
            if name not in scope.results or "steps" in scope.names:
                continue
            if scope.results[name].output == cel.NULL:
                message = f"the output of {name!r} is always null"
                problem = CheckProblem(message, read.offset, None, Rule.MAYBE_NULL)
                found[chain] = problem, Severity.ERROR
                continue
            doubts = scope.learning(read.facts).open_doubts(name)
            if doubts:
                message = f"the step {name!r} may have no output here: {explain(doubts)}"
                field = f".{read.field}" if read.field else ""
                hint = (
                    f"write default(steps.{name}.output{field}, …), "
                    f"or test steps.{name}.output != null first"
                )
                problem = CheckProblem(message, read.offset, hint, Rule.MAYBE_NOT_RUN)
                found[chain] = problem, Severity.ERROR
        return list(found.values())

    def _clash(self, path: str, message: str) -> None:
        self._report(Place(path), CheckProblem(message, 0, None, Rule.TYPE_CLASH))

    def _report(
        self, place: Place, problem: CheckProblem, severity: Severity = Severity.ERROR
    ) -> None:
        limit = problem.rule.startswith("limit-")
        at = place.offset + problem.offset
        self.found.append(
            Problem(
                code=ErrorCode.LIMIT_EXCEEDED if limit else ErrorCode.EXPRESSION_ERROR,
                rule=problem.rule,
                severity=severity,
                path=place.path,
                message=f"{problem.message} (at character {at + 1})",
                hint=problem.hint,
            )
        )


def _unnamed(problem: CheckProblem, source: str, scope: Scope) -> CheckProblem:
    """Say why a name that exists is unknown here."""
    rest = source[problem.offset :].lstrip("`.")
    if re.match(r"secrets\b", rest):
        return CheckProblem(_MISPLACED, problem.offset, _ALONE, Rule.MISPLACED_SECRET)
    if re.match(r"connections\b", rest):
        hint = "an action names a connection in plain text: 'connection: NAME' in its 'with'"
        message = "expressions cannot read connections"
        return CheckProblem(message, problem.offset, hint, Rule.MISPLACED_SECRET)
    return _hidden(problem, source, scope)


def _hidden(problem: CheckProblem, source: str, scope: Scope) -> CheckProblem:
    """Say why `vars` or `steps` cannot be read here, where a problem is about them."""
    for name in scope.hidden:
        if source.startswith(name, problem.offset):
            others = [one for one in ("input", "lead", "run", "vars") if one not in scope.hidden]
            first = f"{', '.join(others[:-1])} or " if others[:-1] else ""
            hint = f"read {first}{others[-1]}"
            message = f"{name!r} cannot be read here: {scope.why}"
            return CheckProblem(message, problem.offset, hint, Rule.NOT_YET_RUN)
    return problem
