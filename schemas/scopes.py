"""What an expression may name at its place, and which results may not be there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from schemas import cel
from schemas.facts import NOTHING, Facts, facts, parsed
from schemas.step_base import ErrorRoute, StepBase
from schemas.steps import Condition, Parallel, Repeat, Split, Switch, Wait

# A doubt is a fact that is missing: ("if", CEL, "true") the run must have found so, ("list",
# step, field) it must have gone this way, and so on. Where all are known, the step has run.
Doubts = Facts

RUN: Final = cel.object_type(
    {
        "id": cel.STRING,
        "definition": cel.STRING,
        "version": cel.INT,
        "workspace": cel.STRING,
        "started_at": cel.TIMESTAMP,
        "now": cel.TIMESTAMP,
    }
)
LEAD: Final = cel.object_type(
    {
        "id": cel.STRING,
        "email": cel.STRING,
        "name": cel.DYN,
        "company": cel.DYN,
        "status": cel.STRING,
        "fields": cel.DYN,
    }
)
ERROR: Final = cel.object_type(
    {"code": cel.STRING, "message": cel.STRING, "step": cel.DYN, "details": cel.DYN}
)
APPROVAL: Final = cel.object_type(
    {
        "path": cel.STRING,
        "description": cel.DYN,
        "assignees": cel.list_of(cel.STRING),
        "waiting_for": cel.list_of(cel.STRING),
        "approvals": cel.INT,
        "deadline": cel.DYN,
    }
)
EVENT: Final = cel.object_type(
    {
        "id": cel.STRING,
        "source": cel.DYN,
        "type": cel.STRING,
        "key": cel.STRING,
        "data": cel.DYN,
        "time": cel.DYN,
    }
)


@dataclass(frozen=True)
class Result:
    """What is known of one step's result: the type of its output, and what it depends on."""

    output: cel.Type
    doubts: Doubts = NOTHING

    @cached_property
    def view(self) -> cel.Type:
        """The type of `steps.<id>`."""
        return cel.object_type({"output": self.output, "status": cel.STRING, "error": ERROR})


Results = Mapping[str, Result]


def doubting(results: Results, doubts: Iterable[tuple[str, ...]]) -> dict[str, Result]:
    """Give the results with more doubts."""
    more = frozenset(doubts)
    return {name: Result(one.output, one.doubts | more) for name, one in results.items()}


@dataclass(frozen=True)
class Scope:
    """What an expression may name: results by step id, a loop's variables, and what is known.

    `nullable` are the names that may be null; `index` gives any step by its id. `hidden` are those
    of `vars` and `steps` that cannot be read at all, for the reason `why`. `secrets` says whether
    a bare `secrets.NAME` may stand here: in the `with` of an action alone.
    """

    index: Mapping[str, StepBase]
    results: Results = field(default_factory=dict)
    names: Mapping[str, cel.Type] = field(default_factory=dict)
    nullable: frozenset[str] = frozenset()
    known: Facts = NOTHING
    hidden: tuple[str, ...] = ()
    why: str = ""
    secrets: bool = False

    @cached_property
    def steps(self) -> cel.Type:
        """The type of `steps`."""
        return cel.object_type({name: one.view for name, one in self.results.items()})

    def after(self, results: Results) -> "Scope":
        """Give the scope in which these steps have been, too."""
        return replace(self, results={**self.results, **results})

    def naming(self, names: Mapping[str, cel.Type], nullable: Iterable[str] = ()) -> "Scope":
        """Give the scope with more variables."""
        kept = self.nullable - names.keys()
        return replace(self, names={**self.names, **names}, nullable=kept | frozenset(nullable))

    def passing(self, source: str, verdict: bool) -> "Scope":
        """Give the scope of what happens only when a condition has turned out so."""
        parts = _conjuncts(source) if verdict else []
        tests = {_if(part, verdict) for part in (source, *parts)}
        return self.learning(tests | _facts(source, verdict))

    def learning(self, found: Iterable[tuple[str, ...]]) -> "Scope":
        """Give the scope in which these facts, and what follows from them, are known."""
        new = frozenset(found)
        if new <= self.known:
            return self
        return replace(self, known=self.known | new.union(*(self._implied(one) for one in new)))

    def open_doubts(self, name: str) -> Doubts:
        """Give what is not known of a step and must be, for it to have an output."""
        if ("value", "steps", name, "output") in self.known:
            return NOTHING
        return self.results[name].doubts - self.known

    def _implied(self, fact: tuple[str, ...]) -> Doubts:
        if fact[0] == "value" and fact[1] == "steps" and fact[3:4] == ("output",):
            return self._doubts(fact[2])
        if fact[0] == "ran":
            return frozenset(one for one in self._doubts(fact[1]) if one[0] != "empty")
        if fact[0] == "verdict":
            step = self.index.get(fact[1])
            if isinstance(step, Condition):
                return list_doubts(step, "then" if fact[2] == "true" else "else")
        if fact[0] == "variant":
            step = self.index.get(fact[1])
            names = [one.name for one in step.variants] if isinstance(step, Split) else []
            if step is not None and fact[2] in names:
                return list_doubts(step, f"variants[{names.index(fact[2])}].do")
        return NOTHING

    def _doubts(self, name: str) -> Doubts:
        return self.results[name].doubts if name in self.results else NOTHING


def _facts(source: str, verdict: bool) -> Facts:
    tree = parsed(source)
    # A syntax error is reported where the expression itself is checked.
    return facts(tree, verdict) if tree is not None else NOTHING


def _conjuncts(source: str) -> list[str]:
    """Cut `a && b` into its parts; what holds anything more involved is left whole."""
    pieces = source.split("&&")
    whole = all(
        piece.count(opening) == piece.count(closing)
        and not piece.count("'") % 2
        and not piece.count('"') % 2
        for piece in pieces
        for opening, closing in ("()", "[]", "{}")
    )
    return pieces if whole and "||" not in source and "?" not in source else []


def _if(source: str, verdict: bool) -> tuple[str, ...]:
    return ("if", " ".join(source.split()), str(verdict).lower())


def list_doubts(step: StepBase, field: str) -> Doubts:
    """Give what must be known for the steps of one of a step's visible lists to have run."""
    if isinstance(step, Condition) and step.if_ is not None:
        return frozenset({_if(step.if_, field == "then")})
    if isinstance(step, Parallel) and step.join == "all" and step.on_branch_error == "fail":
        return NOTHING
    if isinstance(step, Split) and len(step.variants) == 1 and not step.holdout:
        return NOTHING
    return frozenset({("list", step.id, field)})


def step_doubts(step: StepBase) -> Doubts:
    """Give what must be known for a step itself, and for all inside it, to have run well."""
    doubts: set[tuple[str, ...]] = set()
    if step.if_ is not None and not isinstance(step, Condition):
        doubts.add(_if(step.if_, True))
    if "continue" in _error_words(step):
        doubts.add(("failed", step.id))
    return frozenset(doubts)


def inner_doubts(step: StepBase) -> Doubts:
    """Give what more must be known for the steps inside: a fallback gives only the step's own."""
    return frozenset({("failed", step.id)}) if has_fallback(step) else NOTHING


def output_doubts(step: StepBase) -> Doubts:
    """Give what must be known for the body's own output not to be null."""
    empty = (
        (isinstance(step, Wait) and step.on_timeout == "continue")
        or (isinstance(step, Repeat) and step.while_ is not None)
        or (isinstance(step, Switch) and not step.default)
    )
    return frozenset({("empty", step.id)}) if empty else NOTHING


def has_fallback(step: StepBase) -> bool:
    """Tell whether some error of a step is dealt with by steps: their output becomes its own."""
    return any(not isinstance(does, str) for does in _error_actions(step))


def _error_words(step: StepBase) -> list[str]:
    return [does for does in _error_actions(step) if isinstance(does, str)]


def _error_actions(step: StepBase) -> list[object]:
    if isinstance(step.on_error, str):
        return [step.on_error]
    return [one.do if isinstance(one, ErrorRoute) else step.on_error for one in step.on_error]


def explain(doubts: Doubts) -> str:
    """Say why a step may have no output."""
    kind, *words = min(doubts)
    name = words[0] if words else ""
    reasons = {
        "empty": f"{name!r} gives null when nothing came or nothing was chosen",
        "failed": f"when {name!r} fails, the run goes on",
        "failure": "the run may have failed before it",
        "goal": "the goal may have ended the steps before it",
        "if": f"only if {name}" if words[1:] == ["true"] else f"only if not ({name})",
        "later": "in the first round of the loop nothing has run yet",
        "list": f"{name!r} may take another way",
        "stopped": f"{name!r} may have ended the run before it",
    }
    return reasons[kind]
