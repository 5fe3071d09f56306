"""Control steps that choose, repeat and run side by side."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.durations import Duration
from schemas.policies import Strict
from schemas.step_base import Expression, StepBase, StepId, StepLists

if TYPE_CHECKING:
    from schemas.steps import Step

MAX_BRANCHES = 50
# Above so many items, the items go to child runs.
MAX_INLINE_ITEMS = 200
MAX_ITEMS = 10_000
MAX_ITERATIONS = 10_000
DEFAULT_BATCH = 100
HOLDOUT = "holdout"

NAMED_CHECKS = (
    "budget_qualification",
    "reply_received",
    "booking_completed",
    "email_opened",
    "email_clicked",
)


def _twice(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


class Condition(StepBase):
    """Chooses `then` or `else` by a CEL verdict or by a named check; `if` here is the verdict."""

    type: Literal["condition"]
    check: (
        Literal[
            "budget_qualification",
            "reply_received",
            "booking_completed",
            "email_opened",
            "email_clicked",
        ]
        | None
    ) = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    then: "list[Step]" = Field(default_factory=list)
    else_: "list[Step]" = Field(default_factory=list, alias="else")

    @model_validator(mode="after")
    def _one_verdict(self) -> Self:
        if (self.if_ is None) == (self.check is None):
            raise ValueError("a condition needs exactly one of 'if' and 'check'")
        if self.if_ is not None and self.with_:
            raise ValueError("'with' belongs to 'check'")
        return self

    def visible_lists(self) -> StepLists:
        """Both ways."""
        return [("then", self.then), ("else", self.else_)]


class Case(Strict):
    """One case of a switch: `is` compares with the value of `on`, `if` is an expression."""

    is_: Any = Field(default=None, alias="is")
    if_: Expression | None = Field(default=None, alias="if")
    do: "list[Step]"

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if ("is_" in self.model_fields_set) == (self.if_ is not None):
            raise ValueError("a case needs exactly one of 'is' and 'if'")
        return self


class Switch(StepBase):
    """Runs the first case that matches, else `default`."""

    type: Literal["switch"]
    on: Expression | None = None
    cases: Annotated[list[Case], Field(min_length=1, max_length=100)]
    default: "list[Step]" = Field(default_factory=list)

    @model_validator(mode="after")
    def _on(self) -> Self:
        if self.on is None and any(case.if_ is None for case in self.cases):
            raise ValueError("cases with 'is' need 'on'")
        return self

    def visible_lists(self) -> StepLists:
        """Every case, then the default."""
        lists = [(f"cases[{i}].do", case.do) for i, case in enumerate(self.cases)]
        return [*lists, ("default", self.default)]


class Variant(Strict):
    """One variant of a split; `weight` is its share beside the others' weights."""

    name: StepId
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    do: "list[Step]"


class Split(StepBase):
    """Sends each key to the same variant for ever; output is {variant, output}.

    `holdout` percent of the keys go to none: their variant is `holdout`.
    """

    type: Literal["split"]
    variants: Annotated[list[Variant], Field(min_length=1, max_length=20)]
    key: Annotated[str, Field(min_length=1)] = "{{ run.id }}"
    holdout: Annotated[float, Field(ge=0, le=100)] = 0

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [variant.name for variant in self.variants]
        if _twice(names):
            raise ValueError(f"variant names must differ: {', '.join(_twice(names))}")
        if HOLDOUT in names:
            raise ValueError(f"{HOLDOUT!r} is no name for a variant: use 'holdout: <percent>'")
        if not any(variant.weight for variant in self.variants):
            raise ValueError("at least one variant needs a weight above 0")
        return self

    def visible_lists(self) -> StepLists:
        """Every variant."""
        return [(f"variants[{i}].do", variant.do) for i, variant in enumerate(self.variants)]


class Branch(Strict):
    """One branch of a parallel step."""

    name: StepId
    do: "list[Step]"


Join = Literal["all", "any"] | Annotated[int, Field(ge=1, le=MAX_BRANCHES)]


class Parallel(StepBase):
    """Runs all branches at once; output is {branch name: last output}.

    With `join: any` or a number the step ends when so many branches have succeeded, and the rest
    are cancelled: their output is null. `on_branch_error: continue` lets the other branches go on
    after a failure, as long as enough of them can still succeed.
    """

    type: Literal["parallel"]
    branches: Annotated[list[Branch], Field(min_length=1, max_length=MAX_BRANCHES)]
    join: Join = "all"
    on_branch_error: Literal["fail", "continue"] = "fail"

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [branch.name for branch in self.branches]
        if _twice(names):
            raise ValueError(f"branch names must differ: {', '.join(_twice(names))}")
        if isinstance(self.join, int) and self.join > len(names):
            raise ValueError(f"join {self.join} needs as many branches; there are {len(names)}")
        return self

    def visible_lists(self) -> StepLists:
        """Every branch."""
        return [(f"branches[{i}].do", branch.do) for i, branch in enumerate(self.branches)]


class ForEach(StepBase):
    """Runs `do` for every item, `concurrency` at a time; output is the list of last outputs.

    Above 200 items, or with `batch`, the items go to child runs of `batch` items each. With
    `tolerate` so many items may fail, and the output is a list of {index, status, output, error}.
    """

    type: Literal["for_each"]
    items: Any = Field(description="a list, or {{ CEL }} that gives one; at most 10,000 items")
    as_: StepId = Field(default="item", alias="as")
    concurrency: Annotated[int, Field(ge=1, le=MAX_BRANCHES)] = 10
    join: Join = "all"
    batch: Annotated[int, Field(ge=1, le=1000)] | None = None
    tolerate: (
        Annotated[int, Field(ge=0, le=MAX_ITEMS)]
        | Annotated[str, Field(pattern=r"^(100|[0-9]{1,2})%$")]
        | None
    ) = Field(default=None, description="failed items that are borne: a count, or 5%")
    do: "Annotated[list[Step], Field(min_length=1)]"

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.join != "all" and (self.batch is not None or self.tolerate is not None):
            raise ValueError("'join' other than all goes with neither 'batch' nor 'tolerate'")
        return self

    def hidden_lists(self) -> StepLists:
        """The body: it has one result for each item."""
        return [("do", self.do), *self.recovery_lists()]

    def tolerated(self, count: int) -> int | None:
        """How many of `count` items may fail; None when the first failure fails the step."""
        if isinstance(self.tolerate, str):
            return count * int(self.tolerate.removesuffix("%")) // 100
        return self.tolerate


class Repeat(StepBase):
    """Runs `do` again `while` a verdict holds or `until` one does, at most `max` times.

    `while` is judged before each iteration, `until` after it; `every` is the time from one
    iteration's begin to the next. Reaching `max` fails the step with LIMIT_EXCEEDED. Output is
    the last iteration's last output.
    """

    type: Literal["repeat"]
    while_: Expression | None = Field(default=None, alias="while")
    until: Expression | None = None
    max: Annotated[int, Field(ge=1, le=MAX_ITERATIONS)]
    every: Duration | None = None
    do: "Annotated[list[Step], Field(min_length=1)]"

    @model_validator(mode="after")
    def _one_verdict(self) -> Self:
        if (self.while_ is None) == (self.until is None):
            raise ValueError("a repeat needs exactly one of 'while' and 'until'")
        return self

    def hidden_lists(self) -> StepLists:
        """The body: it has one result for each iteration."""
        return [("do", self.do), *self.recovery_lists()]
